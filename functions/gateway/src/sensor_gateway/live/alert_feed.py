"""One look at Redis for all streams of alerts of this process, which lasts until a change comes."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from redis.exceptions import RedisError

from sensor_gateway.live.alert_events import AlertEvent, AlertFilter
from sensor_gateway.live.alert_stream import AlertStream
from sensor_gateway.live.followers import AWAY, UP, Followers
from sensor_gateway.live.stream import Stream, Terms
from sensor_shared.adapters.alert_tail import BEGIN, AlertTail, EntryId, LostError, entry_id
from sensor_shared.runtime import tasks
from sensor_shared.telemetry import metrics

BLOCK_SECONDS: Final = 1.0
"""That one look lasts when nothing comes; then it is looked whether the place is still held."""
_PAGE: Final = 200
_KEPT: Final = 1_000
_PAUSE_SECONDS: Final = 0.5


class AlertFeed:
    """Follows the stream in Redis while somebody follows it here, and wakes all streams.

    Each stream has a place of its own and asks for what comes after it. The newest events are in
    memory, once for all; who is behind them, having been away or reading slowly, is given pages
    out of Redis. So nothing waits for anybody in memory, and places are good in every process.

    Args:
        tail: for pages.
        blocking: the same with a client whose commands may take `BLOCK_SECONDS` longer.
        now: seconds since the epoch.
    """

    def __init__(
        self, tail: AlertTail, blocking: AlertTail, *, now: Callable[[], float] = time.time
    ):
        self._tail = tail
        self._blocking = blocking
        self._now = now
        self._followers = Followers[AlertStream]()
        self._recent: list[AlertEvent] = []
        self._place: EntryId | None = None
        """Up to which it has looked; None: nobody follows, or it has not looked yet."""
        self._floor: EntryId | None = None
        """After it everything up to `_place` is in `_recent`."""
        self._task: asyncio.Task[None] | None = None

    @property
    def watched(self) -> bool:
        """False when following has ended in a way nothing foresaw."""
        return self._task is None or not self._task.done()

    def start(self) -> None:
        """Begins to wait for streams; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="live alerts")

    async def stop(self) -> None:
        """Ends following."""
        await tasks.end([self._task])

    def open(self, terms: Terms, follows: AlertFilter, last_event_id: str | None) -> Stream:
        """Returns a stream; see `Feed`."""
        place = None if last_event_id is None else entry_id(last_event_id)
        stream = AlertStream(terms, follows, self, place, resumes=last_event_id is not None)
        self._followers.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Tells this stream nothing more."""
        self._followers.remove(stream)

    async def newest(self) -> EntryId:
        """Returns the place of the newest change.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        return await self._tail.newest()

    async def check(self, place: EntryId) -> None:
        """Returns when all that came after the place is still held.

        Raises:
            LostError: when it is not.
            RedisError, OSError: when Redis does not answer.
        """
        await self._tail.after(place, 0)

    async def after(self, place: EntryId) -> Sequence[AlertEvent]:
        """Returns the next events after a place that was held; none when there are none yet.

        Raises:
            LostError: when they are not held any more.
            RedisError, OSError: when Redis does not answer.
        """
        begin = bisect_right(self._recent, place, key=lambda event: event.id)
        # Only from an entry that is here itself: one that is not may have been lost with others.
        if place == self._floor or (begin and self._recent[begin - 1].id == place):
            return self._recent[begin : begin + _PAGE]
        return [AlertEvent(entry) for entry in await self._tail.after(place, _PAGE)]

    async def _run(self) -> None:
        while True:
            await self._followers.some()
            try:
                await self._look()
            except LostError:
                self._lose()
            except (RedisError, OSError) as error:
                self._followers.tell(AWAY, error=str(error))
                if self._place == BEGIN:
                    self._lose()  # nobody can tell what there was when it is back
                await asyncio.sleep(_PAUSE_SECONDS)
            if not self._followers:
                self._forget()

    async def _look(self) -> None:
        """Looks once for what is new, and waits for it."""
        if self._place is None:
            self._place = self._floor = await self._tail.newest()
            self._wake()  # something may have come before that
        else:
            await self._blocking.wait(self._place, int(BLOCK_SECONDS * 1000))
            while entries := await self._tail.after(self._place, _PAGE):
                self._place = entries[-1].id
                self._keep([AlertEvent(entry) for entry in entries])
        self._followers.tell(UP)

    def _keep(self, events: Sequence[AlertEvent]) -> None:
        now = self._now()
        for event in events:
            if event.change is not None:
                seconds = now - event.change.at.timestamp()
                metrics.LIVE_ALERT_LATENCY.observe(max(0.0, seconds * 1000))
        self._recent += events
        if len(self._recent) > _KEPT:
            self._floor = self._recent[-_KEPT - 1].id
            del self._recent[:-_KEPT]
        self._wake()

    def _wake(self) -> None:
        for stream in self._followers:
            stream.wake()

    def _lose(self) -> None:
        self._forget()
        for stream in self._followers:
            stream.lose()

    def _forget(self) -> None:
        self._recent = []
        self._place = self._floor = None
