"""How quick the machine is at the moment, shown by work that no change of the system touches.

On a machine that is shared with others the same code takes a third more CPU in one hour than in the
next. Figures of two runs are comparable as far as the pace of both is the same.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

_ADDITIONS: Final = 2_000_000
_WORDS: Final = 8_000_000
_LOOKS: Final = 2_000_000
_TIMES: Final = 7


def pace() -> dict[str, float]:
    """Returns milliseconds, each the median of some repetitions; takes two seconds in all.

    `python_ms` is a plain loop of two million additions; `memory_ms` takes two million words out of
    64 MB, of which most are in no cache.
    """
    memory = np.arange(_WORDS)
    places = np.random.default_rng(1).integers(0, _WORDS, _LOOKS)
    return {"python_ms": _median(_add), "memory_ms": _median(lambda: memory.take(places))}


def words(found: dict[str, float]) -> str:
    """Returns the pace for people."""
    return (
        f"two million additions in Python take {found['python_ms']:.0f} ms, "
        f"as many words out of 64 MB {found['memory_ms']:.0f} ms"
    )


def _add() -> None:
    total = 0
    for _ in range(_ADDITIONS):
        total += 3


def _median(work: Callable[[], Any]) -> float:
    took = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(took), 1)
