"""What happens after a change is stored: it is told live, offered to the notifications, published.

ClickHouse knows of each change whether that is done. What a process did not get done, because it
died or Kafka was away for long, any replica does on a later sweep: so all happen at least once.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException

from sensor_alerts.changes import Changes
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.alert_changes import AlertChange, encode
from sensor_shared.contracts.events import ALERT_CHANGES, Event
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

ORPHAN_SECONDS: Final = 60
"""After which a change that is not published belongs to nobody any more."""
_MAX_WAITING: Final = 10_000
_MAX_BATCH: Final = 200
_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE: Final = 10.0
_TELL_SECONDS: Final = 5.0
_REPAIR_SECONDS: Final = 10.0
"""After which a repair begins no further batch: the rest of the sweep waits for it."""


class _Taken(NamedTuple):
    """A change, and the telling of it that is under way."""

    change: AlertChange
    telling: "asyncio.Task[bool]"


class Notifier(Protocol):
    """Tells people of changes."""

    async def offer(self, change: AlertChange) -> None:
        """Takes a change that is stored; does not wait until anybody was told.

        Called by one replica for each change, and again, with the same `change_id`, after a crash.
        """


class Live(Protocol):
    """Tells those who follow alerts live."""

    async def tell(self, change: AlertChange) -> bool:
        """Returns when they are told; false: it has to be done again."""


class Publisher(Protocol):
    """What this needs of `adapters.kafka.EventPublisher`."""

    async def publish(self, topic: str, event: Event) -> None:
        """Returns when the event is acknowledged; raises `KafkaException`."""


class Outbox:
    """Tells of changes, offers and publishes them in the background, in their order.

    Args:
        changes: knows what is published.
        notifier: is offered each change first.
        publisher: of the topic.
        live: is told at once; whether it can be keeps nothing else waiting.
        topic: other than `sensor-alert-changes` in tests only.
        max_batch: changes that are published, or repaired, together.
    """

    def __init__(
        self,
        changes: Changes,
        notifier: Notifier,
        publisher: Publisher,
        live: Live,
        *,
        topic: str = ALERT_CHANGES,
        max_batch: int = _MAX_BATCH,
    ):
        self._changes = changes
        self._notifier = notifier
        self._publisher = publisher
        self._live = live
        self._topic = topic
        self._max_batch = max_batch
        self._waiting: asyncio.Queue[_Taken] = asyncio.Queue(_MAX_WAITING)
        self._held: set[str] = set()
        self._telling: set[asyncio.Task[bool]] = set()
        self._noting: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._log = logger(part="outbox")

    def start(self) -> None:
        """Begins to publish; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="outbox")

    async def stop(self, drain_seconds: float = 5.0) -> None:
        """Publishes what waits, at most so long; the rest is left to the others."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), drain_seconds)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def alive(self) -> bool:
        """False when it has ended in a way that nothing foresaw."""
        return self._task is None or not self._task.done()

    async def put(self, change: AlertChange, *, news: bool = True) -> None:
        """Takes a change that is stored; returns when the notifications have it.

        Args:
            change: as it is stored.
            news: false: nobody is to be told of it.
        """
        telling = asyncio.create_task(self._live.tell(change))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        if news and not await self._offer(change):
            return
        try:
            self._waiting.put_nowait(_Taken(change, telling))
            self._held.add(change.change_id)
        except asyncio.QueueFull:
            self._log.warning("outbox full; a later sweep publishes", change=change.change_id)

    async def repair(self, before: Callable[[AlertChange], Awaitable[None]]) -> None:
        """Does what other processes left undone, batch after batch, for some seconds.

        Args:
            before: is awaited for each change before it is published.

        Raises:
            DatabaseAwayError, KafkaException: when it has to be tried again.
        """
        until = time.monotonic() + _REPAIR_SECONDS
        while await self._repaired(before) and time.monotonic() < until:
            pass

    async def _repaired(self, before: Callable[[AlertChange], Awaitable[None]]) -> bool:
        """Does a batch; tells whether it was a full one and all of it is done: more may be left."""
        found = await self._changes.unpublished(ORPHAN_SECONDS, self._max_batch + len(self._held))
        batch = [one for one in found if one.change_id not in self._held][: self._max_batch]
        await asyncio.gather(*(before(change) for change in batch))
        await asyncio.gather(
            *(self._publisher.publish(self._topic, encode(change)) for change in batch)
        )
        told = await asyncio.gather(*(self._told(change) for change in batch))
        # One after the other, as people are to hear of them.
        done = [
            change
            for change, well in zip(batch, told, strict=True)
            if well and await self._offer(change)
        ]
        await asyncio.gather(*(self._changes.published(change) for change in done))
        if done:
            alert_metrics.ALERT_CHANGES_REPAIRED.inc(len(done))
            self._log.warning("published for another process", count=len(done))
        return len(done) == self._max_batch

    async def _told(self, change: AlertChange) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TELL_SECONDS):
                return await self._live.tell(change)
        return False

    async def _offer(self, change: AlertChange) -> bool:
        """Tells whether it is offered; if not, a later sweep does it, and publishes then."""
        try:
            await self._notifier.offer(change)
        except DatabaseAwayError as error:
            self._log.warning("offered by a later sweep", change=change.change_id, error=str(error))
            return False
        except Exception:  # noqa: BLE001  (the change stands, whatever telling of it runs into)
            alert_metrics.ALERTS_NOTIFY_FAILED.labels("offer").inc()
            self._log.exception("not offered to the notifications", change=change.change_id)
        return True

    async def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < self._max_batch:
                batch.append(self._waiting.get_nowait())
            while rest := await self._published(batch):
                await asyncio.sleep(pause)
                batch, pause = rest, min(2 * pause, _LONGEST_PAUSE)
            pause = _PAUSE_SECONDS

    async def _published(self, batch: Sequence[_Taken]) -> list[_Taken]:
        """Publishes changes and notes it; returns those that Kafka did not take."""
        results = await asyncio.gather(
            *(self._publisher.publish(self._topic, encode(taken.change)) for taken in batch),
            return_exceptions=True,
        )
        rest, done = list[_Taken](), list[_Taken]()
        for taken, result in zip(batch, results, strict=True):
            if isinstance(result, KafkaException):
                rest.append(taken)
            elif result is None:
                done.append(taken)
            else:
                raise result
        if rest:
            self._log.warning("changes not published yet", count=len(rest))
        alert_metrics.ALERT_CHANGES_PUBLISHED.inc(len(done))
        if done:
            task = asyncio.create_task(self._note(done))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)
        return rest

    async def _note(self, done: Sequence[_Taken]) -> None:
        try:
            told = await asyncio.gather(*(telling for _, telling in done))
            changes = [change for (change, _), well in zip(done, told, strict=True) if well]
            await asyncio.gather(*(self._changes.published(change) for change in changes))
        except (DatabaseAwayError, ClickHouseError) as error:
            # A later sweep publishes them once more.
            self._log.warning("not noted as published", count=len(done), error=str(error))
        finally:
            for taken in done:
                self._held.discard(taken.change.change_id)
                self._waiting.task_done()
