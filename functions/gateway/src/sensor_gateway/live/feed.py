"""One look at Redis for all streams of this process: what has changed since the last one."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Collection, Iterable
from typing import Final

from redis.exceptions import RedisError

from sensor_gateway.live.changes import ReadingChange
from sensor_gateway.live.records import LatestRecords
from sensor_gateway.live.stream import Stream
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_SHARE: Final = 0.2
"""Of the time that polls may take: one that lasts long is followed by a longer pause."""
UP: Final = "up"
AWAY: Final = "away"


class ReadingFeed:
    """Polls while somebody follows, and tells each stream what has changed for it.

    It polls because 10,000 readings a second are new, and a message beside each of them would be
    work for Redis and for every gateway whether somebody follows or not; one poll costs nearly the
    same for any number of streams. It reads only the devices that streams name, or, when one names
    none, the fleet; `docs/live.md` says what that costs: 13 ms of CPU with 10,000 devices.

    A change has a version, which counts the polls that found one. Versions mean nothing to another
    process, so ids begin with `instance`: a client that comes with another's gets everything.

    Args:
        records: where they are read.
        seconds: between two polls.
    """

    def __init__(self, records: LatestRecords, *, seconds: float):
        self._records = records
        self._seconds = seconds
        self._known: dict[str, ReadingChange] = {}
        self._version = 0
        self._streams: set[Stream] = set()
        self._opened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._state = UP
        self._log = logger(part="live")
        self.instance = secrets.token_hex(4)

    @property
    def watched(self) -> bool:
        """False when polling has ended in a way nothing foresaw."""
        return self._task is None or not self._task.done()

    def start(self) -> None:
        """Begins to wait for streams; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="live")

    async def stop(self) -> None:
        """Ends polling."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def add(self, stream: Stream) -> None:
        """Tells this stream what changes from now on, and first what changed since its version."""
        self._streams.add(stream)
        if self._state != UP:
            stream.tell(self._state)
        self._opened.set()

    def remove(self, stream: Stream) -> None:
        """Tells this stream nothing more."""
        self._streams.discard(stream)

    async def _run(self) -> None:
        while True:
            await self._opened.wait()
            started = time.perf_counter()
            await self._poll()
            took = time.perf_counter() - started
            metrics.LIVE_POLL_DURATION.observe(took * 1000)
            await asyncio.sleep(max(self._seconds, took / _SHARE - took))
            if not self._streams:
                self._opened.clear()

    async def _poll(self) -> None:
        streams = list(self._streams)
        try:
            found = await self._read(streams)
        except (RedisError, OSError) as error:
            self._tell(AWAY, error=str(error))
            return
        self._tell(UP)
        known = self._known
        changed = {
            device_id: record
            for device_id, record in found.items()
            if (before := known.get(device_id)) is None or before.record != record
        }
        if changed:
            self._version += 1
        # What nobody follows any more is forgotten; seen again, it counts as changed.
        if len(known) + len(changed) > len(found):
            for device_id in known.keys() - found.keys():
                del known[device_id]
        changes = {
            device_id: ReadingChange(device_id, record, self._version)
            for device_id, record in changed.items()
        }
        known.update(changes)
        for stream in streams:
            news = changes if stream.begun else known
            self._offer(stream, stream.follows.among(news))
            await asyncio.sleep(0)

    def _offer(self, stream: Stream, news: Iterable[ReadingChange]) -> None:
        if not stream.begun:
            news = [change for change in news if change.version > stream.since]
            stream.begun = True
        stream.offer(news, self._version)

    async def _read(self, streams: Collection[Stream]) -> dict[str, bytes]:
        if all(stream.follows.devices for stream in streams):
            ids = frozenset[str]().union(*(stream.follows.devices for stream in streams))
            return await self._records.of(ids) if ids else {}
        return await self._records.all()

    def _tell(self, state: str, **why: str) -> None:
        if state == self._state:
            return
        self._state = state
        self._log.warning("changes known" if state == UP else "changes not known", **why)
        for stream in self._streams:
            stream.tell(state)
