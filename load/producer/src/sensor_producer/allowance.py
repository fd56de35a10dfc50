"""How much may be done now, so that a rate is kept."""

import time
from collections.abc import Callable

_SECONDS = 0.1  # that may be saved up


class Allowance:
    """Grows by `rate` units a second, up to a tenth of a second's; may be overdrawn once."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic):
        self._rate = rate
        self._clock = clock
        self._units = 0.0
        self._at = clock()

    def left(self) -> bool:
        """Whether something may be done now."""
        now = self._clock()
        grown = self._units + (now - self._at) * self._rate
        self._units, self._at = min(grown, max(1.0, self._rate * _SECONDS)), now
        return self._units > 0

    def spend(self, units: float) -> None:
        """Takes off what is done."""
        self._units -= units
