"""Group commit: the events in flight become one insert, and each is told when its rows are there.

An insert costs the engine 5 to 9 ms of CPU whether it holds 60 rows or 1,000, so their number
per second is bounded, not their size. One insert is under way at a time; what arrives meanwhile
is the next group.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_consumer.delivery import Delivery
from sensor_consumer.rows import token
from sensor_consumer.seen import Past, RecentKeys
from sensor_consumer.settings import StoreSettings
from sensor_consumer.stages import Stages
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_RETRY_PAUSE_SECONDS = 0.1


class Writer(Protocol):
    """What stores a group: `tables.Tables`."""

    async def write(self, group: Sequence[Delivery], token: str) -> pa.RecordBatch:
        """Stores a group; returns its readings, joined."""

    async def without_stored(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Returns the deliveries without the rows that are stored."""


class Memory(Protocol):
    """What knows events and shows their readings, as far as it can: `cache.Cache`."""

    async def begin(self, keys: Sequence[str]) -> Mapping[str, Past]:
        """Notes events that are going to be stored; returns what it knows of their past."""

    async def publish(self, batch: pa.RecordBatch, keys: Sequence[str]) -> bool:
        """Shows readings and remembers their events."""


class Store:
    """Takes deliveries and answers each when ClickHouse has acknowledged its rows."""

    def __init__(
        self,
        writer: Writer,
        memory: Memory,
        stages: Stages,
        settings: StoreSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._writer = writer
        self._memory = memory
        self._stages = stages
        self._settings = settings
        self._clock = clock
        self._recent = RecentKeys(settings.remember_events)
        self._doubtful = RecentKeys(settings.remember_events)
        self._futures: dict[str, asyncio.Future[None]] = {}
        self._waiting: list[Delivery] = []
        self._rows = 0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._publishing: set[asyncio.Task[None]] = set()
        self._log = logger(part="store")

    def start(self) -> None:
        """Begins to take deliveries; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="store")

    @property
    def running(self) -> bool:
        """True between start and stop, unless it broke down."""
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """Ends; deliveries that still wait are given back."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._publishing:
            await asyncio.wait(self._publishing)
        for delivery in self._waiting:
            self._settle(delivery, Retry("the consumer is stopping"))
        self._waiting.clear()

    async def add(self, delivery: Delivery) -> None:
        """Returns when the delivery's rows are stored, now or by an earlier delivery of it.

        Raises:
            Retry: when they are not, or nobody can tell.
        """
        if delivery.key in self._recent and not delivery.replayed:
            metrics.EVENTS_REPEATED.inc()
            return
        future = self._futures.get(delivery.key)
        if future is None:
            future = self._enqueue(delivery)
        # The others wait on, should the caller of one of them go away.
        await asyncio.shield(future)

    def _enqueue(self, delivery: Delivery) -> "asyncio.Future[None]":
        if self._rows + delivery.rows > self._settings.max_waiting_rows and self._waiting:
            raise Retry("too many readings wait to be stored", after=1, overloaded=True)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_look_at)
        self._futures[delivery.key] = future
        self._waiting.append(delivery)
        self._rows += delivery.rows
        self._arrived.set()
        return future

    async def _run(self) -> None:
        interval = 1 / self._settings.inserts_per_second
        linger = self._settings.linger_ms / 1000
        started = float("-inf")
        while True:
            await self._arrived.wait()
            await asyncio.sleep(max(linger, started + interval - self._clock()))
            started = self._clock()
            await self._store(self._take())

    def _take(self) -> list[Delivery]:
        rows = count = 0
        for delivery in self._waiting:
            if count and rows >= self._settings.max_rows:
                break
            rows += delivery.rows
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        self._rows -= rows
        if not self._waiting:
            self._arrived.clear()
        return group

    async def _store(self, group: list[Delivery]) -> None:
        """Stores a group and settles each of its deliveries; raises nothing but cancellation."""
        try:
            new, doubtful = self._sorted(group, await self._memory.begin([d.key for d in group]))
            await self._write(new, doubtful)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self._log.exception("storing failed")
            for delivery in group:
                self._settle(delivery, Retry("storing was interrupted"))
            if not isinstance(error, Exception):
                raise

    def _sorted(
        self, group: list[Delivery], past: Mapping[str, Past]
    ) -> tuple[list[Delivery], list[Delivery]]:
        """Settles what is known to be stored; returns what is new, and what may be stored."""
        new, doubtful = [], []
        for delivery in group:
            state = past.get(delivery.key, Past.NEW)
            if delivery.replayed or state is Past.BEGUN or delivery.key in self._doubtful:
                doubtful.append(delivery)
            elif state is Past.NEW:
                new.append(delivery)
            else:
                metrics.EVENTS_REPEATED.inc()
                self._settle(delivery)
        return new, doubtful

    async def _write(self, new: list[Delivery], doubtful: list[Delivery]) -> None:
        group = new + doubtful
        if not group:
            return
        try:
            await self._try(new, doubtful)
        except DatabaseAwayError as error:
            self._log.warning("ClickHouse away", events=len(group), error=str(error)[:300])
            self._doubtful.add(delivery.key for delivery in group)
            for delivery in group:
                self._settle(delivery, Retry("ClickHouse is away", after=1))
        except ClickHouseError as error:
            self._log.error("ClickHouse refused", events=len(group), error=str(error)[:300])
            self._doubtful.add(delivery.key for delivery in group)
            if len(group) == 1:
                self._settle(group[0], Retry(f"ClickHouse refused: {str(error)[:200]}"))
            else:
                # What is wrong with one event must not hold up the others. One of the tables
                # may have taken its rows of the group: all are doubtful now.
                for delivery in group:
                    await self._write([], [delivery])
        else:
            keys = [delivery.key for delivery in group]
            self._recent.add(keys)
            self._doubtful.discard(keys)
            task = asyncio.create_task(self._publish(group))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    async def _try(self, new: list[Delivery], doubtful: list[Delivery]) -> None:
        """Stores what is not stored yet; after a failure nobody knows what that is.

        The token is that of the whole group in each attempt, should an attempt that was given up
        reach ClickHouse all the same.
        """
        keys = [delivery.key for delivery in new + doubtful]
        if any(delivery.replayed for delivery in doubtful):
            # What has been lost since must not be taken for a repetition of its first insert.
            keys.append(uuid.uuid4().hex)
        of_group = token(keys)
        for attempt in range(1, self._settings.attempts + 1):
            try:
                rest = await self._writer.without_stored(doubtful) if doubtful else []
                metrics.EVENTS_REPEATED.inc(sum(not delivery.rows for delivery in rest))
                group = new + [delivery for delivery in rest if delivery.rows]
                if group:
                    self._stages.stored(group, await self._writer.write(group, of_group))
            except DatabaseAwayError as error:
                if attempt == self._settings.attempts:
                    raise
                self._log.info("insert again", attempt=attempt, error=str(error)[:300])
                new, doubtful = [], new + doubtful
                await asyncio.sleep(_RETRY_PAUSE_SECONDS * 2**attempt)
            else:
                return

    async def _publish(self, group: list[Delivery]) -> None:
        """Beside the next insert: a slow Redis holds up answers for its timeout, never inserts.

        Shows also what was stored before: nobody knows whether it has been shown.
        """
        batch = pa.concat_batches([delivery.batch for delivery in group])
        try:
            if await self._memory.publish(batch, [delivery.key for delivery in group]):
                self._stages.visible(batch)
        finally:
            for delivery in group:
                self._settle(delivery)

    def _settle(self, delivery: Delivery, error: Exception | None = None) -> None:
        future = self._futures.pop(delivery.key, None)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _look_at(future: "asyncio.Future[None]") -> None:
    """Marks an error as seen: every caller may have gone away."""
    if not future.cancelled():
        future.exception()
