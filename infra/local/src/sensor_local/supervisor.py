"""Starts processes in the order that they need, keeps them running, and stops them again.

Like Kubernetes on one machine: what does not depend on each other starts at the same time,
what dies is started again after a growing pause, and stopping goes the other way round.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from sensor_local.checkout import ROOT
from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_local.process import Process, Started, before_exec, tail

_POLL_SECONDS = 0.05
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_STABLE_SECONDS = 60.0
_LOG_BYTES = 20 * 1024 * 1024
_LOG_CHECK_SECONDS = 5.0


class State(StrEnum):
    """What a process is doing, in the words that people read."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    PAUSING = "restarting"
    DONE = "done"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Supervised:
    """One process under supervision."""

    def __init__(self, process: Process):
        self.process = process
        self.state = State.WAITING
        self.started: Started | None = None
        self.restarts = 0
        self.ready = asyncio.Event()
        self.stop_asked = False
        self.handle: asyncio.subprocess.Process | None = None
        self.task: asyncio.Task[None] | None = None

    def describe(self) -> dict[str, object]:
        """Returns what `status` shows."""
        return {
            "name": self.process.name,
            "state": self.state,
            "pid": self.started.pid if self.started else None,
            "created": self.started.created if self.started else None,
            "restarts": self.restarts,
            "job": self.process.job,
            "port": self.process.port,
            "url": self.process.url,
        }


class Supervisor:
    """Runs a table of processes.

    Must be used from the main thread: the children live as long as the thread that starts them.

    Args:
        processes: the table; every name in `after` must be in it.
        run: where logs and the list of what runs go.
        environ: what every process gets, its own environment comes on top.
        tell: takes one line for people about what happens.
    """

    def __init__(
        self,
        processes: Iterable[Process],
        run: RunFolder,
        environ: Mapping[str, str],
        tell: Callable[[str], None],
    ):
        self.children = {process.name: Supervised(process) for process in processes}
        self._run = run
        # A crash in native code shows in the log where it happened.
        self._environ = {"PYTHONFAULTHANDLER": "1", **environ}
        self._tell = tell
        self._all_ready = False
        self._house: asyncio.Task[None] | None = None
        self._helper: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts everything; returns when all of it is ready.

        Raises:
            StartError: when a process ends or is not ready in time; nothing runs then.
        """
        for child in self.children.values():
            child.task = asyncio.create_task(self._keep(child), name=child.process.name)
        self._house = asyncio.create_task(self._keep_house(), name="housekeeping")
        ready = asyncio.create_task(self._until_all_ready(), name="all ready")
        pending: set[asyncio.Task[None]] = {
            ready,
            *(child.task for child in self.children.values() if child.task),
        }
        try:
            while not ready.done():
                ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()  # raises what it failed with
            self._all_ready = True
        except BaseException:
            ready.cancel()
            await self.stop()
            raise

    async def _until_all_ready(self) -> None:
        for child in self.children.values():
            await child.ready.wait()

    async def stop(self, *names: str, grace: float | None = None) -> None:
        """Stops the named processes, or all, each after those that depend on it."""
        chosen = [self.children[name] for name in names] or list(self.children.values())
        for child in chosen:
            child.stop_asked = True
        stops: dict[str, asyncio.Task[None]] = {}

        async def stop(child: Supervised) -> None:
            name = child.process.name
            await asyncio.gather(
                *(stops[one.process.name] for one in chosen if name in one.process.after)
            )
            await self._stop(child, grace)

        for child in chosen:
            stops[child.process.name] = asyncio.create_task(stop(child))
        await asyncio.gather(*stops.values())
        if not names and self._house:
            self._house.cancel()
            await asyncio.gather(self._house, return_exceptions=True)

    async def output(self, *command: str, environment: Mapping[str, str]) -> list[str]:
        """Runs a short command to its end and returns the lines that it wrote."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**self._environ, **environment},
            start_new_session=True,
            preexec_fn=before_exec(),
        )
        self._helper = process
        written, _ = await process.communicate()
        return written.decode(errors="replace").splitlines()

    def kill(self) -> None:
        """Kills whatever runs, at once."""
        for child in self.children.values():
            child.stop_asked = True
            self._signal(child, signal.SIGKILL)
        if self._helper and self._helper.returncode is None:
            self._helper.kill()

    async def _keep(self, child: Supervised) -> None:
        """Starts a process and starts it again until it is stopped."""
        for name in child.process.after:
            await self.children[name].ready.wait()
        pause = _FIRST_PAUSE_SECONDS
        while not child.stop_asked:
            began = time.monotonic()
            handle = await self._spawn(child)
            if await self._becomes_ready(child, handle):
                seconds = time.monotonic() - began
                self._set(child, State.DONE if child.process.job else State.READY)
                child.ready.set()
                self._tell(f"{child.process.name}: {child.state} after {seconds:.1f} s")
                if child.process.job:
                    return
            code = await handle.wait()
            if child.stop_asked:
                return
            self._signal(child, signal.SIGKILL)  # what it may have left would hold its ports
            if not self._all_ready:
                self._set(child, State.FAILED)
                raise StartError(self._why(child, code))
            if time.monotonic() - began > _STABLE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            child.restarts += 1
            self._set(child, State.PAUSING)
            how = _how_it_ended(code)
            self._tell(f"{child.process.name}: {how}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _spawn(self, child: Supervised) -> asyncio.subprocess.Process:
        process = child.process
        if process.prepare:
            process.prepare()
        with self._run.log(process.name).open("ab") as log:
            handle = await asyncio.create_subprocess_exec(
                *process.command,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=process.environ(self._environ),
                # A group of its own: a Ctrl-C in the terminal is ours to pass on, in order. Not a
                # session: Linux shares the cores out between sessions first (autogroup), and
                # what gives way (nice) does so within its own only.
                process_group=0,
                preexec_fn=before_exec(process.nice),
            )
        child.handle = handle
        child.started = Started.of(handle.pid)
        self._set(child, State.STARTING)
        return handle

    async def _becomes_ready(self, child: Supervised, handle: asyncio.subprocess.Process) -> bool:
        """Waits until the process is ready (true) or has ended (false)."""
        process = child.process
        deadline = time.monotonic() + process.start_seconds
        while handle.returncode is None:
            if not process.job and await process.ready() and handle.returncode is None:
                return True
            if time.monotonic() > deadline and not child.stop_asked:
                self._tell(f"{process.name}: not ready after {process.start_seconds:g} s")
                self._signal(child, signal.SIGKILL)
                await handle.wait()
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(handle.wait(), _POLL_SECONDS)
        return process.job and handle.returncode == 0

    async def _stop(self, child: Supervised, grace: float | None) -> None:
        name = child.process.name
        if child.task is None:
            return
        if child.handle and child.handle.returncode is None:
            self._set(child, State.STOPPING)
            self._signal(child, signal.SIGTERM)
            try:
                await asyncio.wait_for(
                    child.handle.wait(), child.process.stop_seconds if grace is None else grace
                )
            except TimeoutError:
                self._tell(f"{name}: did not end by itself; killed")
        self._signal(child, signal.SIGKILL)  # and what it may have started
        if child.handle:
            await child.handle.wait()
        child.task.cancel()
        await asyncio.gather(child.task, return_exceptions=True)
        if child.state not in (State.DONE, State.FAILED):
            self._set(child, State.STOPPED)

    @staticmethod
    def _signal(child: Supervised, number: signal.Signals) -> None:
        """Signals the process; SIGKILL goes to its whole group."""
        if child.handle is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(child.handle.pid, number)
            elif child.handle.returncode is None:
                child.handle.send_signal(number)

    def _set(self, child: Supervised, state: State) -> None:
        child.state = state
        mine = Started.of(os.getpid())
        self._run.processes = {
            "supervisor": {"pid": os.getpid(), "created": mine.created if mine else None},
            "processes": [one.describe() for one in self.children.values()],
        }

    def _why(self, child: Supervised, code: int) -> str:
        log = self._run.log(child.process.name)
        lines = "\n".join(f"  | {line}" for line in tail(log))
        return f"{child.process.name} {_how_it_ended(code)}; the end of {log}:\n{lines}"

    async def _keep_house(self) -> None:
        """Bounds the logs: a full one becomes `<name>.log.1`, which replaces the one before."""
        while True:
            await asyncio.sleep(_LOG_CHECK_SECONDS)
            for name in self.children:
                log = self._run.log(name)
                if log.exists() and log.stat().st_size > _LOG_BYTES:
                    # The process writes on to the same file, at its end: copy, then cut.
                    old = log.with_name(f"{log.name}.1")
                    await asyncio.to_thread(old.write_bytes, log.read_bytes())
                    os.truncate(log, 0)


def _how_it_ended(code: int) -> str:
    return (
        f"ended with status {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
    )
