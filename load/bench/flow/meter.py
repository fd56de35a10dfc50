"""CPU time and memory of processes, each with what it has started."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

_MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """CPU seconds that each process has used since its start, at one moment."""

    at: float
    """Seconds of the monotonic clock."""
    cpu: Mapping[str, float]


@dataclass(frozen=True)
class Memory:
    """Resident memory in MiB. What processes share counts in each for RSS, once in all for PSS."""

    rss_mb: float
    pss_mb: float | None
    """None where the kernel does not tell."""


def sample(pids: Mapping[str, int]) -> Sample:
    """Returns what the processes have used until now; those that have ended are left out."""
    found = {}
    for name, pid in pids.items():
        times = [one.cpu_times() for one in _family(pid, pids)]
        if times:
            found[name] = sum(one.user + one.system for one in times)
    return Sample(time.monotonic(), found)


def cores(before: Sample, after: Sample) -> dict[str, float]:
    """Returns CPU seconds per second by process; a process of one sample alone is left out."""
    seconds = after.at - before.at
    return {
        name: max(0.0, after.cpu[name] - used) / seconds
        for name, used in before.cpu.items()
        if name in after.cpu
    }


def memory(pids: Mapping[str, int]) -> dict[str, Memory]:
    """Returns what the processes hold now."""
    return {name: _memory(_family(pid, pids)) for name, pid in pids.items()}


def _memory(family: list[psutil.Process]) -> Memory:
    rss, pss = 0, 0
    known = True
    for process in family:
        try:
            full = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            rss += process.memory_info().rss
            known = False
            continue
        rss += full.rss
        known &= hasattr(full, "pss")
        pss += getattr(full, "pss", 0)
    return Memory(rss / _MIB, pss / _MIB if known else None)


def _family(pid: int, pids: Mapping[str, int]) -> list[psutil.Process]:
    """A process and what it has started, but not what has a name of its own."""
    named = set(pids.values())
    found: list[psutil.Process] = []
    try:
        waiting = [psutil.Process(pid)]
        while waiting:
            process = waiting.pop()
            found.append(process)
            waiting += [child for child in process.children() if child.pid not in named]
    except psutil.NoSuchProcess:
        return []
    return found
