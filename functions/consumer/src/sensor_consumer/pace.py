"""So many inserts per second on average, a few of them at once, and fewer of large groups."""

from collections.abc import Sequence

from sensor_consumer.delivery import Delivery

_SECONDS_A_ROW = 1 / 50_000
_LONGEST_PAUSE_SECONDS = 0.1
"""Above 50,000 readings/s inserts become fewer: what a group costs besides its rows is shared by
more of them, and a reading waits for up to so long."""
_SECONDS_AN_EVENT = 1 / 1_000
_LONGEST_PAUSE_OF_EVENTS_SECONDS = 0.025
"""The same above 1,000 events/s. A source waits for its events' answers before it sends more: all
that its consumers have in flight must not be in a few groups."""


class Pace:
    """The generic cell rate algorithm (ITU-T I.371), which is a token bucket without the tokens.

    Args:
        per_second: on average.
        at_once: that may follow each other at once after a pause of as many intervals.
    """

    def __init__(self, per_second: float, at_once: int):
        self._interval = 1 / per_second
        self._ahead = (at_once - 1) * self._interval
        self._next = float("-inf")

    def pause(self, now: float) -> float:
        """Returns the seconds until the next one may begin."""
        return max(0.0, self._next - self._ahead - now)

    def begin(self, now: float, at_least: float = 0.0) -> None:
        """Is told that one begins, and for how many seconds it stands, if for more than usual."""
        self._next = max(self._next, now) + max(self._interval, at_least)


def worth(group: Sequence[Delivery]) -> float:
    """Returns for how many seconds of the pace a group stands, if for more than any insert does."""
    rows = sum(delivery.rows for delivery in group)
    return max(
        min(rows * _SECONDS_A_ROW, _LONGEST_PAUSE_SECONDS),
        min(len(group) * _SECONDS_AN_EVENT, _LONGEST_PAUSE_OF_EVENTS_SECONDS),
    )
