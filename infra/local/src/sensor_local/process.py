"""What one process of the system is, and how it is started so that it cannot outlive us."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from sensor_local import readiness

_PREFIX = "TWINUP_"
_ONLY = f"{_PREFIX}ONLY_"
_PR_SET_PDEATHSIG = 1
# The clock that a start time is read by may be set in between; a process id is not given
# again that quickly.
_SAME_START_SECONDS = 2.0


@dataclass(frozen=True)
class Process:
    """One line of the table of processes.

    Attributes:
        name: of the process, its log and its line in the views.
        command: the command line.
        environment: added to the supervisor's own.
        ready: tells that what depends on it may start.
        after: names of the processes that must be ready before; it is stopped before them.
        job: it runs once to its end, which is what "ready" means for it.
        port: that it serves, for people to see.
        url: for people to open.
        prepare: makes the files that it needs; called before each start.
        start_seconds: it must be ready by then.
        stop_seconds: it is killed when SIGTERM has not ended it by then.
        nice: how far it gives way to the others when cores are short, 0 to 19.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: readiness.Check = readiness.at_once
    after: tuple[str, ...] = ()
    job: bool = False
    port: int | None = None
    url: str | None = None
    prepare: Callable[[], object] | None = None
    start_seconds: float = 60.0
    stop_seconds: float = 15.0
    nice: int = 0

    def environ(self, shared: Mapping[str, str]) -> dict[str, str]:
        """Returns what it gets: what all get, then its own, then what is set for it alone.

        `TWINUP_ONLY_CONSUMER_LOGGER_LEVEL=debug` is TWINUP_LOGGER_LEVEL for the consumer alone.
        """
        prefix = f"{_ONLY}{self.name.upper()}_"
        alone = {
            _PREFIX + variable.removeprefix(prefix): value
            for variable, value in shared.items()
            if variable.startswith(prefix)
        }
        return {**shared, **self.environment, **alone}


def before_exec(nice: int = 0) -> Callable[[], object]:
    """Returns what a child must call before exec: it gives way, and is killed when its parent ends.

    On Linux the kernel does it, even after kill -9 of the parent; elsewhere `Leftovers` alone
    has to. The parent is the thread that starts the child, so that must be the main thread.
    """
    if sys.platform != "linux":
        return partial(os.nice, nice)
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask_kernel() -> None:
        os.nice(nice)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended in the meantime
            os._exit(1)

    return ask_kernel


@dataclass(frozen=True)
class Started:
    """A process that was started, told apart from a later one with the same id."""

    pid: int
    created: float
    """Start time, seconds since the epoch."""

    @classmethod
    def of(cls, pid: int) -> "Started | None":
        """Describes a process that runs now; None when it has ended."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def find(self) -> psutil.Process | None:
        """Returns the process if it still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def end(started: Iterable[Started], grace: float = 5.0) -> int:
    """Ends processes and all that they started; returns how many there were."""
    found: dict[int, psutil.Process] = {}
    for process in filter(None, (one.find() for one in started)):
        found[process.pid] = process
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {child.pid: child for child in process.children(recursive=True)}
    _signal(found.values(), psutil.Process.terminate)
    _, alive = psutil.wait_procs(found.values(), timeout=grace)
    _signal(alive, psutil.Process.kill)
    psutil.wait_procs(alive, timeout=grace)
    return len(found)


def _signal(processes: Iterable[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            send(process)


def tail(log: Path, lines: int = 15) -> list[str]:
    """Returns the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
