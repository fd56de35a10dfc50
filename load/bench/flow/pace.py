"""How quick the machine is at the moment, shown by work that no change of the system touches.

On a machine that is shared with others the same code takes a third more CPU in one hour than in the
next. Figures of two runs are comparable as far as the pace of both is the same. Cores that are two
threads of one are slow only when both have work, which a process alone does not see.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

_ADDITIONS: Final = 2_000_000
_WORDS: Final = 8_000_000
_LOOKS: Final = 2_000_000
_TIMES: Final = 7


def pace() -> dict[str, float]:
    """Returns milliseconds, each the median of some repetitions; takes four seconds in all.

    `python_ms` is a plain loop of two million additions; `python_all_cores_ms` is the same on every
    core at once, the slowest of them; `memory_ms` takes two million words out of 64 MB, of which
    most are in no cache.
    """
    memory = np.arange(_WORDS)
    places = np.random.default_rng(1).integers(0, _WORDS, _LOOKS)
    return {
        "python_ms": _median(_add),
        "python_all_cores_ms": _all_cores(),
        "memory_ms": _median(lambda: memory.take(places)),
    }


def words(found: dict[str, float]) -> str:
    """Returns the pace for people."""
    return (
        f"two million additions in Python take {found['python_ms']:.0f} ms, "
        f"on all cores at once {found['python_all_cores_ms']:.0f} ms, "
        f"as many words out of 64 MB {found['memory_ms']:.0f} ms"
    )


def _all_cores() -> float:
    # This file as a program of its own: a process that is forked or spawned needs to find this
    # package under the name that the first one found it by.
    started = [
        subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE)  # noqa: S603
        for _ in range(os.cpu_count() or 1)
    ]
    return max(float(one.communicate()[0]) for one in started)


def _add() -> None:
    total = 0
    for _ in range(_ADDITIONS):
        total += 3


def _median(work: Callable[[], Any], times: int = _TIMES) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(took), 1)


if __name__ == "__main__":
    sys.stdout.write(f"{_median(_add, 3 * _TIMES)}\n")
