"""One look at Redis for all streams of this process: what has changed since the last one."""

import asyncio
import secrets
import time
from collections.abc import Collection, Iterable
from typing import Final

from redis.exceptions import RedisError

from sensor_gateway.live.changes import ReadingChange
from sensor_gateway.live.filters import Filter
from sensor_gateway.live.followers import AWAY, UP, Followers
from sensor_gateway.live.reading_stream import ReadingStream
from sensor_gateway.live.records import LatestRecords
from sensor_gateway.live.stream import Stream, Terms
from sensor_shared.runtime import tasks
from sensor_shared.telemetry import metrics

_SHARE: Final = 0.2
"""Of the time that polls may take: one that lasts long is followed by a longer pause."""


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
        self._followers = Followers[ReadingStream]()
        self._task: asyncio.Task[None] | None = None
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
        await tasks.end([self._task])

    def open(self, terms: Terms, follows: Filter, last_event_id: str | None) -> Stream:
        """Returns a stream; see `Feed`.

        An id of another process, of another filter, or nobody's, counts as none: then it gets all
        that is known.
        """
        prefix = f"{self.instance}-{follows.digest}-"
        since = _version(last_event_id, prefix)
        stream = ReadingStream(terms, follows, since=since, prefix=prefix)
        self._followers.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Tells this stream nothing more."""
        self._followers.remove(stream)

    async def _run(self) -> None:
        while True:
            await self._followers.some()
            started = time.perf_counter()
            await self._poll()
            took = time.perf_counter() - started
            metrics.LIVE_POLL_DURATION.observe(took * 1000)
            await asyncio.sleep(max(self._seconds, took / _SHARE - took))

    async def _poll(self) -> None:
        streams = list(self._followers)
        try:
            found = await self._read(streams)
        except (RedisError, OSError) as error:
            self._followers.tell(AWAY, error=str(error))
            return
        self._followers.tell(UP)
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

    def _offer(self, stream: ReadingStream, news: Iterable[ReadingChange]) -> None:
        if not stream.begun:
            news = [change for change in news if change.version > stream.since]
            stream.begun = True
        stream.offer(news, self._version)

    async def _read(self, streams: Collection[ReadingStream]) -> dict[str, bytes]:
        if all(stream.follows.devices for stream in streams):
            ids = frozenset[str]().union(*(stream.follows.devices for stream in streams))
            return await self._records.of(ids) if ids else {}
        return await self._records.all()


def _version(last_event_id: str | None, prefix: str) -> int:
    number = (last_event_id or "").removeprefix(prefix)
    own = last_event_id is not None and last_event_id.startswith(prefix)
    return int(number) if own and number.isascii() and number.isdigit() else 0
