"""*max*: the highest rate that the consumer path holds, for each form of records."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from load.bench.flow.bed import Bed
from load.bench.flow.holding import Held, hold

MARKS = {"arrow": 100_000, "json": 40_000, "single": 2_500}
"""Readings per second to be reached."""

_UP = 1.3
_DOWN = 1.06
_CLOSE = 1.06
_SHORT_SECONDS = 10.0
_SHORT_SLOPE = 0.03
_CONFIRMATIONS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8)


def highest(
    attempt: Callable[[float], tuple[bool, float]], guess: float, tries: int
) -> float | None:
    """Returns the highest rate found that holds; None when none of those tried did.

    While rates hold it goes up by 30 %. Where one does not, what was stored nevertheless is
    tried next. Between a rate that holds and one that does not it takes the middle (by ratio),
    until they are less than 6 % apart or the tries are used up.

    Args:
        attempt: tells whether a rate holds, and what was stored per second.
        guess: tried first.
        tries: at most.
    """
    low: float | None = None
    high: float | None = None
    rate = guess
    for _ in range(tries):
        held, stored = attempt(rate)
        if held:
            low = rate
        else:
            high = rate
        if low is None:
            rate = min(stored, rate / _DOWN)
        elif high is None:
            rate *= _UP
        elif high / low < _CLOSE:
            break
        else:
            rate = (low * high) ** 0.5
    return low


@dataclass(frozen=True)
class Limit:
    """The highest rate held for one form, with all that was tried."""

    best: Held | None
    tried: tuple[Held, ...]

    def as_json(self) -> dict[str, Any]:
        """Returns what a report says about it."""
        return {
            "best": None if self.best is None else self.best.as_json(),
            "tried": [one.as_json() for one in self.tried],
        }


def find(
    bed: Bed, form: str, *, warm_up: float, seconds: float, tries: int, tell: Callable[[str], None]
) -> Limit:
    """Finds the highest rate of one form.

    It is looked for with short windows, from the pass mark on, and then must hold for `seconds`,
    or a little less of it must.

    Raises:
        BenchError: when what is stored is not what was sent.
    """
    bed.query("TRUNCATE TABLE readings")
    tried: list[Held] = []

    def attempt(rate: float) -> tuple[bool, float]:
        short = min(seconds, _SHORT_SECONDS)
        tried.append(
            hold(bed, form, rate, warm_up=warm_up, seconds=short, slope=_SHORT_SLOPE, tell=tell)
        )
        return tried[-1].held, tried[-1].stored

    found = highest(attempt, MARKS[form], tries)
    if found is None:
        return Limit(None, tuple(tried))
    tell(f"{form}: now for {seconds:g} s")
    for share in _CONFIRMATIONS:
        tried.append(hold(bed, form, share * found, warm_up=warm_up, seconds=seconds, tell=tell))
        if tried[-1].held:
            return Limit(tried[-1], tuple(tried))
    return Limit(None, tuple(tried))
