"""What every channel is to the rest: a name, and a way to hand over what one target is told."""

from collections.abc import Sequence
from typing import Protocol

from sensor_alerts.domain.notification import Notification


class NotDeliveredError(Exception):
    """A target did not take what it was told.

    Args:
        reason: what it said, for the record.
        final: it will never take the same again.
        after: seconds before which it wants no further try.
    """

    def __init__(self, reason: str, *, final: bool = False, after: float = 0.0):
        super().__init__(reason)
        self.final = final
        self.after = after


class Channel(Protocol):
    """One way to tell people."""

    async def open(self) -> None:
        """Opens what it needs; never waits for the other side."""

    async def close(self) -> None:
        """Closes it."""

    async def deliver(self, target: str, told: Sequence[Notification]) -> None:
        """Tells one target; returns when the other side has taken it.

        Args:
            target: of all of them.
            told: one, or many in one message where the channel can do that.

        Raises:
            NotDeliveredError: when it has not.
        """
