"""Errors that say what becomes of an event; `runtime.events` turns them into a status."""


class DeliveryError(Exception):
    """Base of the errors with which a handler decides about its event."""


class Retry(DeliveryError):  # noqa: N818  (names what is to be done, as the callers read it)
    """A part is down or overloaded: deliver the same event again later.

    Args:
        reason: what was not available; shown to the caller.
        after: seconds after which a new try makes sense, sent as `Retry-After`.
        overloaded: true answers 429 (slow down), false 503 (unavailable).
    """

    def __init__(self, reason: str, *, after: float | None = None, overloaded: bool = False):
        super().__init__(reason)
        self.reason = reason
        self.after = after
        self.overloaded = overloaded

    @property
    def status(self) -> int:
        """HTTP status; KafkaSource retries both."""
        return 429 if self.overloaded else 503


class Poison(DeliveryError):  # noqa: N818
    """The event can never succeed and cannot even be kept as a reject.

    Answered with 400, which KafkaSource does not retry: the event goes to the dead letters.
    """

    status = 400

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason
