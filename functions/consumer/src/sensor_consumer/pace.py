"""So many per second on average, a few of them at once."""


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
