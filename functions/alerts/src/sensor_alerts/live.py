"""Tells of changes whoever follows alerts live: they are appended to the stream in Redis.

It goes on beside everything else, so a Redis that is away delays neither a record, a notification
nor an event. What is told may be told again; what was left out, or forgotten by a Redis that
crashed, is marked in the stream as missing, and its readers ask for the alerts anew.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field
from redis.exceptions import RedisError

from sensor_shared.adapters.alert_tail import AlertTail, EntryId
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.contracts.alert_changes import AlertChange
from sensor_shared.runtime.settings import Section
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

_MAX_WAITING: Final = 10_000
_MAX_BATCH: Final = 200
_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class StreamSettings(Section):
    """Section STREAM: changes in Redis for those who follow alerts live."""

    keep: Annotated[int, Field(ge=1_000)] = 10_000
    """Changes that stay; who comes back after more of them has to ask for all alerts."""


class LiveChanges:
    """Appends changes in the order in which they are told, many at a time.

    Args:
        tail: the stream.
        keep: changes that stay in it.
        max_waiting: changes that wait while Redis is away; further ones are left out.
    """

    def __init__(self, tail: AlertTail, *, keep: int, max_waiting: int = _MAX_WAITING):
        self._tail = tail
        self._keep = keep
        self._max_waiting = max_waiting
        self._write = GroupCommit(self._append, max_items=_MAX_BATCH)
        self._waiting = 0
        self._left_out = False
        self._last: EntryId | None = None
        self._closing = asyncio.Event()
        self._log = logger(part="live")

    async def tell(self, change: AlertChange) -> bool:
        """Returns when it is in the stream; false: it is not, and has to be told again.

        While Redis is away this waits.
        """
        if self._waiting >= self._max_waiting:
            self._left_out = True
            alert_metrics.ALERT_CHANGES_NOT_STREAMED.inc()
            return False  # the mark that it is missing may die with this process
        self._waiting += 1
        try:
            return await self._write(change)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Gives up what waits for a Redis that is away."""
        self._closing.set()
        await self._write.drain()

    async def _append(self, changes: Sequence[AlertChange]) -> list[bool]:
        pause = _PAUSE_SECONDS
        after_gap, self._left_out = self._left_out, False
        while True:
            try:
                await self._stream(changes, after_gap=after_gap)
            except (RedisError, OSError) as error:
                self._log.warning("changes not streamed yet", count=len(changes), error=str(error))
            else:
                return [True] * len(changes)
            try:
                async with asyncio.timeout(pause):
                    await self._closing.wait()
            except TimeoutError:
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._left_out = self._left_out or after_gap
                return [False] * len(changes)

    async def _stream(self, changes: Sequence[AlertChange], *, after_gap: bool) -> None:
        last = self._last
        newest = await self._tail.append(changes, keep=self._keep, after_gap=after_gap)
        if last is not None and await self._tail.forgot(last):
            self._log.warning("Redis has forgotten changes")
            newest = await self._tail.append([], keep=self._keep, after_gap=True)
        self._last = newest
