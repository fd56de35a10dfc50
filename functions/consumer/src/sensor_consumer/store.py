"""Group commit: the events in flight become one insert, and each is told when its rows are there.

An insert costs the engine 5 to 9 ms of CPU whether it holds 60 rows or 1,000, so it is their number
per second that is bounded, not their size. What arrives while a group waits for its turn
joins it. A few inserts may be under way at the same time, so that a slow one does not hold up the
next.

Its latest readings are shown while ClickHouse works (docs/decisions/0009): a slow Redis holds up
answers for its timeout, never inserts.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_consumer.delivery import Delivery
from sensor_consumer.group import Group, by_past, halves
from sensor_consumer.pace import Pace, worth
from sensor_consumer.ports import Memory, Writer
from sensor_consumer.rows import token
from sensor_consumer.seen import RecentKeys
from sensor_consumer.settings import StoreSettings
from sensor_consumer.stages import Stages
from sensor_consumer.waiting import Waiting
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_RETRY_PAUSE_SECONDS = 0.1
_REFUSALS = 16
"""Of parts of one group: one bad event of a thousand is found by eleven. Where all is refused the
rest is given back, to come again."""
_SHOW_AFTER_SECONDS = 0.001
"""The insert is sent first; the other is made up while ClickHouse works."""


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
        self._waiting = Waiting(settings.max_waiting_rows)
        self._pace = Pace(settings.inserts_per_second, settings.concurrent_inserts)
        self._task: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(settings.concurrent_inserts)
        self._storing: set[asyncio.Task[None]] = set()
        self._beside: set[asyncio.Task[None]] = set()
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
        for task in self._storing:
            task.cancel()
        if self._storing:
            await asyncio.wait(self._storing)
        if self._beside:
            await asyncio.wait(self._beside)
        for delivery in self._waiting.take():
            self._waiting.settle(delivery, Retry("the consumer is stopping"))

    async def add(self, delivery: Delivery) -> None:
        """Returns when the delivery's rows are stored, now or by an earlier delivery of it.

        Raises:
            Retry: when they are not, or nobody can tell.
        """
        if delivery.key in self._recent and not delivery.replayed:
            metrics.EVENTS_REPEATED.inc()
            return
        await self._waiting.add(delivery)

    async def _run(self) -> None:
        linger = self._settings.linger_ms / 1000
        while True:
            await self._waiting.arrival()
            await asyncio.sleep(max(linger, self._pace.pause(self._clock())))
            await self._slots.acquire()
            group = self._waiting.take(self._settings.max_rows)
            self._pace.begin(self._clock(), worth(group))
            task = asyncio.create_task(self._store(group))
            self._storing.add(task)
            task.add_done_callback(self._stored)

    def _stored(self, task: asyncio.Task[None]) -> None:
        self._storing.discard(task)
        self._slots.release()

    async def _store(self, deliveries: list[Delivery]) -> None:
        """Stores deliveries and settles each of them; raises nothing but cancellation."""
        try:
            past = await self._memory.begin([(one.key, one.sent) for one in deliveries])
            group, stored = by_past(deliveries, past, self._doubtful, self._recent)
            for delivery in stored:
                metrics.EVENTS_REPEATED.inc()
                self._waiting.settle(delivery)
            if group.deliveries:
                # Shows also what was stored before: nobody knows whether it has been shown.
                await self._write(group, self._go_on(self._show(group.deliveries)))
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self._log.exception("storing failed")
            self._interrupted(deliveries)
            if not isinstance(error, Exception):
                raise

    def _go_on(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Does work that no insert waits for."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        return task

    async def _show(self, group: list[Delivery]) -> None:
        await asyncio.sleep(_SHOW_AFTER_SECONDS)
        try:
            batch = pa.concat_batches([delivery.batch for delivery in group])
            if await self._memory.show(batch):
                self._stages.visible(batch)
        except Exception:  # noqa: BLE001  (events are stored all the same)
            self._log.exception("showing failed")

    async def _write(self, group: Group, showing: "asyncio.Task[None]") -> None:
        async def store(part: Group) -> None:
            if part is not group:
                await asyncio.sleep(self._pace.pause(self._clock()))
                self._pace.begin(self._clock(), worth(part.deliveries))
            rejecting = await self._try(part)
            self._go_on(self._answer(part.deliveries, rejecting, showing))

        await self._in_parts(group, store)

    async def _in_parts(self, group: Group, work: Callable[[Group], Awaitable[None]]) -> None:
        """Works on a group; on one that is refused in parts, so that the good ones do not wait."""
        parts, refused = [group], 0
        while parts:
            part = parts.pop()
            try:
                await work(part)
            except (DatabaseAwayError, ClickHouseError) as error:
                refused += 1
                if isinstance(error, DatabaseAwayError) or refused == _REFUSALS:
                    for waiting in (part, *parts):
                        self._failed(waiting.deliveries, error)
                    return
                if len(part.deliveries) == 1:
                    self._failed(part.deliveries, error)
                else:
                    # One of the tables may have taken its rows of the group: all are doubtful.
                    parts += [Group(doubtful=half) for half in reversed(halves(part.deliveries))]

    async def _try(self, group: Group) -> list[Delivery]:
        """Stores the readings that are not stored yet; after a failure nobody knows which.

        Returns the deliveries with rejects that are not stored yet.

        The token is that of the whole group in each attempt, should an attempt that was given up
        reach ClickHouse all the same.
        """
        keys = [delivery.key for delivery in group.deliveries]
        if any(delivery.replayed for delivery in group.deliveries):
            # What has been lost since must not be taken for a repetition of its first insert.
            keys.append(uuid.uuid4().hex)
        of_group = token(keys)
        for attempt in range(1, self._settings.attempts + 1):
            try:
                rest = await self._rest(group)
                readings = [delivery for delivery in rest if delivery.batch.num_rows]
                if readings:
                    self._stages.stored(readings, await self._writer.write(readings, of_group))
            except DatabaseAwayError as error:
                if attempt == self._settings.attempts:
                    raise
                self._log.info("insert again", attempt=attempt, error=str(error)[:300])
                group = group.in_doubt()
                await asyncio.sleep(_RETRY_PAUSE_SECONDS * 2**attempt)
            else:
                return [delivery for delivery in rest if delivery.rejects]
        raise AssertionError("the last attempt returns or raises")

    async def _rest(self, group: Group) -> list[Delivery]:
        """Returns the deliveries without the rows that are stored."""
        if not group.old and not group.doubtful:
            return list(group.new)
        rest = await self._writer.without_stored(group.old, group.doubtful)
        metrics.EVENTS_REPEATED.inc(sum(not delivery.rows for delivery in rest))
        return [*group.new, *rest]

    async def _answer(
        self, group: list[Delivery], rejecting: list[Delivery], showing: "asyncio.Task[None]"
    ) -> None:
        """Answers stored events once they are shown: what is remembered is not looked at again.

        Events with rejects are answered when these are stored too, which is done seldom for many
        of them.
        """
        waiting = {delivery.key for delivery in rejecting}
        try:
            await showing
            await self._remember([delivery for delivery in group if delivery.key not in waiting])
            if rejecting:
                await self._keep(rejecting)
        except Exception:  # noqa: BLE001  (nobody waits for this task)
            self._log.exception("answering failed")
        finally:
            self._interrupted(group)  # whoever has no answer by now

    async def _keep(self, rejecting: list[Delivery]) -> None:
        async def keep(part: Group) -> None:
            await self._writer.keep(part.deliveries)
            self._stages.kept(part.deliveries)
            await self._remember(part.deliveries)

        await self._in_parts(Group(doubtful=rejecting), keep)

    def _interrupted(self, group: list[Delivery]) -> None:
        """Gives back those that have no answer."""
        left = [delivery for delivery in group if delivery in self._waiting]
        self._give_back(left, Retry("storing was interrupted"))

    async def _remember(self, group: list[Delivery]) -> None:
        """Answers events that are stored whole.

        One that comes again before the others know of it has begun for them, and is looked up.
        """
        keys = [delivery.key for delivery in group]
        self._recent.add(keys)
        self._doubtful.discard(keys)
        for delivery in group:
            self._waiting.settle(delivery)
        await self._memory.remember(keys)

    def _failed(self, group: list[Delivery], error: Exception) -> None:
        if isinstance(error, DatabaseAwayError):
            self._log.warning("ClickHouse away", events=len(group), error=str(error)[:300])
            self._give_back(group, Retry("ClickHouse is away", after=1))
        else:
            self._log.error("ClickHouse refused", events=len(group), error=str(error)[:300])
            self._give_back(group, Retry(f"ClickHouse refused: {str(error)[:200]}"))

    def _give_back(self, group: list[Delivery], answer: Retry) -> None:
        """Answers that the events must come again; what of them is stored is looked up then."""
        self._doubtful.add(delivery.key for delivery in group)
        for delivery in group:
            self._waiting.settle(delivery, answer)
