"""A part that is away must not cost every event its timeout."""

import time
from collections.abc import Callable


class Circuit:
    """Says whether a part is worth asking: not for a while after it failed.

    Args:
        pause: that while, seconds.
        clock: seconds.
    """

    def __init__(self, pause: float, *, clock: Callable[[], float] = time.monotonic):
        self._pause = pause
        self._clock = clock
        self._closed_from = float("-inf")

    @property
    def open(self) -> bool:
        """True while the part is left alone."""
        return self._clock() < self._closed_from

    def failed(self) -> None:
        """Is told that the part did not answer."""
        self._closed_from = self._clock() + self._pause
