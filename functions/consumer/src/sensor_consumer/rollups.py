"""Keeps the rollups right: docs/decisions/0007-rollups-are-made-anew.md says why this holds."""

import asyncio
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_consumer.marks import COVERS_SECONDS
from sensor_consumer.ports import Queries
from sensor_consumer.summaries import LEVELS
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.events import PING, Event
from sensor_shared.contracts.readings.model import MAX_AHEAD_MS
from sensor_shared.contracts.rollups import (
    LATE_AFTER_SECONDS,
    MINUTE,
    SKEW_SECONDS,
    WHOLE_SECONDS,
)
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

HOLD_SECONDS: Final = 3 * COVERS_SECONDS
"""How old a mark must be: all that it speaks for was stored long before."""
SLICE_DEVICES: Final = 1_000
"""Of one statement on raw rows: what comes in meanwhile must not wait for a core for long."""
_MOST_SLICES: Final = 20
_REST: Final = 3
"""Times as long as a statement took, nothing is asked for: a run takes a quarter of a core."""
_REST_SECONDS: Final = 6.0
"""Of all that is made in one go at most: what is in the rollups must not grow old by it."""
_ABOVE_ALL_IDS: Final = "~"
_OPEN_SECONDS: Final = 150
"""What a run takes up without marks at most; what was missed before that is marked first."""
_AHEAD_SECONDS: Final = MAX_AHEAD_MS // 1_000 + SKEW_SECONDS

# All times are epoch seconds by the server's clock.
_CLOCK: Final = """
SELECT toUnixTimestamp(now()),
       (SELECT toUnixTimestamp(max(begun_at)) FROM rollup_runs),
       (SELECT toUnixTimestamp(min(timestamp)) FROM readings),
       (SELECT count() FROM readings)
"""
_MARK: Final = """
INSERT INTO rollup_marks (minute, marked_at)
SELECT toDateTime({start:UInt32} + 60 * number, 'UTC'), toDateTime({at:UInt32}, 'UTC')
FROM numbers({count:UInt32})
"""
_LATE: Final = """
SELECT toUnixTimestamp(minute) FROM rollup_marks FINAL
WHERE done = 0 AND toUnixTimestamp(minute) >= {oldest:UInt32}
  AND marked_at <= toDateTime64({until:UInt32}, 3, 'UTC')
GROUP BY minute ORDER BY minute DESC LIMIT {limit:UInt32}
"""
_DONE: Final = """
INSERT INTO rollup_marks (minute, id, marked_at, done)
SELECT minute, id, marked_at, 1 FROM rollup_marks FINAL
WHERE done = 0 AND toUnixTimestamp(minute) IN {minutes:Array(UInt32)}
  AND marked_at <= toDateTime64({until:UInt32}, 3, 'UTC')
"""
_WAITING: Final = """
SELECT uniqExact(minute) FROM rollup_marks FINAL
WHERE done = 0 AND toUnixTimestamp(minute) >= {oldest:UInt32}
"""
# The last device of each slice but the last: slices of `size` devices, or else `most` of them.
_EDGES: Final = """
WITH (SELECT uniqExact(device_id) FROM devices) AS known
SELECT device_id FROM (SELECT DISTINCT device_id FROM devices ORDER BY device_id)
WHERE (rowNumberInAllBlocks() + 1) % greatest({size:UInt32}, intDiv(known, {most:UInt32}) + 1) = 0
SETTINGS max_threads = 1
"""
_FINISHED: Final = "INSERT INTO rollup_runs (begun_at) SELECT toDateTime({begun:UInt32}, 'UTC')"


def is_tick(event: Event) -> bool:
    """Tells whether an event asks for a run."""
    if event.type != PING:
        return False
    try:
        task = json.loads(event.data)
    except ValueError:
        return False
    return isinstance(task, dict) and task.get("task") == "rollup"


class Rollups:
    """Makes the rollups anew of the newest minutes, and of those that readings came late for.

    Any number of processes may run it at the same time, twice or not at all for a while.

    Args:
        database: bound to limits of its own (`max_execution_time`).
        late_minutes: taken up by one run at most; the rest waits for the next.
        hold: seconds that a mark must be old.
    """

    def __init__(self, database: Queries, *, late_minutes: int, hold: int = HOLD_SECONDS):
        self._database = database
        self._most = late_minutes
        self._limit = late_minutes
        self._hold = hold
        self._running = asyncio.Lock()
        self._log = logger(part="rollups")

    async def tick(self) -> None:
        """Makes one run, unless one is under way.

        Raises:
            Retry: when ClickHouse did not do it; the next run does what is missing.
        """
        if self._running.locked():
            return
        async with self._running:
            try:
                await self._run()
            except DatabaseAwayError as error:
                raise Retry("ClickHouse is away", after=1) from error
            except ClickHouseError as error:
                self._log.error("rollups refused", error=str(error)[:300])
                raise Retry("ClickHouse refused the rollups") from error

    async def _run(self) -> None:
        started = time.perf_counter()
        ((begun, last, first, readings),) = await self._database.rows(_CLOCK)
        if readings:
            # No run is known: a new table, or none for so long that its record has expired.
            await self._newest(begun, last - LATE_AFTER_SECONDS - SKEW_SECONDS if last else first)
            await self._late(begun)
        elapsed = time.perf_counter() - started
        metrics.ROLLUP_DURATION.observe(elapsed * 1000)
        self._log.debug("rollups up to date", seconds=round(elapsed, 3))

    async def _newest(self, begun: int, unseen: int) -> None:
        """Takes up what may have been stored, unmarked, since the last finished run began."""
        missed = _minute(max(unseen, begun - WHOLE_SECONDS))
        start = max(missed, _minute(begun - _OPEN_SECONDS))
        if missed < start:
            count, at = (start - missed) // MINUTE, begun - self._hold
            await self._database.rows(_MARK, start=missed, count=count, at=at)
        await self._remake(range(start, begun + _AHEAD_SECONDS + MINUTE, MINUTE), "newest")
        await self._database.rows(_FINISHED, begun=begun)

    async def _late(self, begun: int) -> None:
        """Takes up what is marked."""
        until, oldest = begun - self._hold, begun - WHOLE_SECONDS
        rows = await self._database.rows(_LATE, until=until, oldest=oldest, limit=self._limit)
        minutes = [minute for (minute,) in rows]
        if minutes:
            try:
                await self._remake(minutes, "late")
            except (DatabaseAwayError, ClickHouseError):
                # It may have been too much for the time that one statement has.
                self._limit = max(1, self._limit // 2)
                raise
            self._limit = min(self._most, self._limit * 2)
            await self._database.rows(_DONE, until=until, minutes=minutes)
        ((waiting,),) = await self._database.rows(_WAITING, oldest=oldest)
        metrics.ROLLUP_WAITING.set(waiting)

    async def _remake(self, minutes: Sequence[int], kind: str) -> None:
        rows = await self._database.rows(_EDGES, size=SLICE_DEVICES, most=_MOST_SLICES)
        edges = ["", *(device for (device,) in rows), _ABOVE_ALL_IDS]
        # What a statement costs besides its rows is shared by more devices where each has few.
        statements = [
            (level.remake(minutes), after, to)
            for level in LEVELS
            for after, to in pairwise([*edges[: -1 : level.slices], edges[-1]])
        ]
        longest = _REST_SECONDS / len(statements)
        for statement, after, to in statements:
            started = time.perf_counter()
            await self._database.rows(statement, after=after, to=to)
            took = time.perf_counter() - started
            await asyncio.sleep(min(_REST * took, longest))
        metrics.ROLLUP_MINUTES.labels(kind).inc(len(minutes))


def _minute(moment: int) -> int:
    return moment // MINUTE * MINUTE
