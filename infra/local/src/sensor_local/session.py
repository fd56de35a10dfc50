"""One run of the system: from the lock on its folder to the last process gone."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sensor_local import credentials, ports, system
from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_local.process import Started, end
from sensor_local.supervisor import Supervisor

_LOCK_SECONDS = 2.0
_OWNER_POLL_SECONDS = 0.5


class AlreadyRunning(StartError):  # noqa: N818 - it is no failure
    """The folder's system runs."""


@dataclass
class Session:
    """Runs the system, or some of its processes, until it is told to stop.

    Attributes:
        run: the folder.
        environ: of this process; everything that is started gets it.
        only: names of the processes to run; empty for all.
        tell: takes one line for people about what happens.
        owner: the system stops when this process has ended.
    """

    run: RunFolder
    environ: Mapping[str, str]
    only: Sequence[str] = ()
    tell: Callable[[str], None] = print
    owner: Started | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    supervisor: Supervisor | None = None
    ports: Mapping[str, int] = field(default_factory=dict)

    async def serve(self, when_ready: Callable[[], None] = lambda: None) -> None:
        """Starts everything, waits until `stopping` is set, stops everything.

        Args:
            when_ready: called once, when everything is ready and endpoints.json is there.

        Raises:
            StartError: when it cannot start; nothing runs then.
        """
        self.run.make()
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            with self.run.locked() as mine:
                if mine:
                    await self._serve_locked(when_ready)
                    return
            if time.monotonic() > deadline:
                raise AlreadyRunning("it is running already")
            await asyncio.sleep(0.1)

    async def _serve_locked(self, when_ready: Callable[[], None]) -> None:
        began = time.monotonic()
        end_leftovers(self.run, self.tell)
        self.run.account_file.unlink(missing_ok=True)  # it is of an earlier run
        self.ports = chosen = ports.choose(self.environ)
        table = system.System(
            self.run,
            chosen,
            credentials.load_or_make(self.run, self.environ),
            self.environ,
            since_ms=time.time_ns() // 1_000_000,
        )
        processes = table.processes(self.only)
        ports.refuse_taken({name: chosen[name] for name in table.ports(processes)})
        self.supervisor = supervisor = Supervisor(processes, self.run, self.environ, self.tell)
        watch = asyncio.create_task(self._watch_owner())
        try:
            if await self._start(supervisor):
                self.run.endpoints = table.endpoints(processes)
                self.tell(f"ready after {time.monotonic() - began:.1f} s")
                when_ready()
                await self.stopping.wait()
                self.run.endpoints = None
                await table.drain(supervisor, self.tell)
        finally:
            watch.cancel()
            self.run.endpoints = None
            await supervisor.stop()
            self.run.processes = None
            self.tell("stopped")

    async def _start(self, supervisor: Supervisor) -> bool:
        """Starts everything; false when it was told to stop before that was done."""
        start = asyncio.create_task(supervisor.start())
        stop = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not start.done():
            self.tell("stopping in the middle of the start")
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            return False
        start.result()
        return True

    async def _watch_owner(self) -> None:
        while self.owner is None or self.owner.find():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(_OWNER_POLL_SECONDS)
        self.tell("its owner has ended")
        self.stopping.set()

    def interrupt(self) -> None:
        """Asks for a stop; asked again, it kills what still runs."""
        if self.stopping.is_set() and self.supervisor:
            self.tell("killing what still runs")
            self.supervisor.kill()
        self.stopping.set()


def end_leftovers(run: RunFolder, tell: Callable[[str], None]) -> None:
    """Ends what a supervisor that was killed has left; the folder's lock must be held.

    Only processes with a recorded id and start time are touched.
    """
    document = run.processes
    if document is None:
        return
    recorded = [
        Started(one["pid"], one["created"])
        for one in document["processes"]
        if one["pid"] is not None and one["created"] is not None
    ]
    mine = os.getpid()
    count = end(one for one in recorded if one.pid != mine)
    if count:
        tell(f"ended {count} processes that an earlier run had left")
    run.endpoints = None
    run.processes = None
