"""CPU time and memory of the processes that run."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from sensor_local.process import Started


@dataclass(frozen=True)
class Usage:
    """What one process uses now."""

    cores: float
    """CPU seconds per second since the sample before; 0 in the first."""
    rss_mb: float
    seconds: float
    """Since its start."""


class UsageMeter:
    """Measures processes from one sample to the next."""

    def __init__(self) -> None:
        self._before: dict[Started, tuple[float, float]] = {}

    def sample(self, processes: Iterable[Started]) -> dict[Started, Usage]:
        """Returns the usage of those that run; children that they have started count with them."""
        found = {}
        for started in processes:
            process = started.find()
            if process is None:
                continue
            try:
                cpu, rss = _total(process)
            except psutil.Error:
                continue
            now = time.monotonic()
            then, cpu_then = self._before.get(started, (now, cpu))
            self._before[started] = now, cpu
            cores = max(0.0, cpu - cpu_then) / (now - then) if now > then else 0.0
            found[started] = Usage(cores, rss / 2**20, time.time() - started.created)
        return found


def _total(process: psutil.Process) -> tuple[float, int]:
    family = [process, *process.children(recursive=True)]
    cpu, rss = 0.0, 0
    for member in family:
        times = member.cpu_times()
        cpu += times.user + times.system
        rss += member.memory_info().rss
    return cpu, rss
