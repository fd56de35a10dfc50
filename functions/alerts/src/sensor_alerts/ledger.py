"""Decisions about alerts: taken by one replica at a time, stored, then listed and told of.

The order of writes, and what a crash between two of them leaves, is in docs/alerts.md.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError

from sensor_alerts.changes import Changes
from sensor_alerts.domain import life
from sensor_alerts.domain.alert import Record
from sensor_alerts.domain.life import Step
from sensor_alerts.history import History
from sensor_alerts.leases import Lease, Leases, Subject
from sensor_alerts.outbox import Outbox
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.alert_changes import SYSTEM, AlertChange, ChangeKind
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

Decide = Callable[[Record | None], Step | None]
Result = TypeVar("Result")

_MAX_UNDER_WAY: Final = 2_000
_CLOSE_SECONDS: Final = 10.0


class Ledger:
    """Changes alerts.

    Args:
        leases: say who decides.
        changes: the facts.
        history: the alerts as they are now.
        outbox: tells of changes.
        now: the time, UTC.
        max_under_way: decisions, listings and tellings; above it a decision waits for its own.
    """

    def __init__(
        self,
        leases: Leases,
        changes: Changes,
        history: History,
        outbox: Outbox,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_under_way: int = _MAX_UNDER_WAY,
    ):
        self._leases = leases
        self._changes = changes
        self._history = history
        self._outbox = outbox
        self._now = now
        self._max_under_way = max_under_way
        self._under_way: set[asyncio.Task[Any]] = set()
        self._telling: dict[Subject, asyncio.Task[None]] = {}
        self._log: Final = logger(part="ledger")

    async def change(
        self,
        subject: Subject,
        decide: Decide,
        alert_id: str | None = None,
        *,
        listed: bool = False,
    ) -> Step | None:
        """Takes one decision; a caller that gives up does not stop it half-way.

        Args:
            subject: what it is about.
            decide: gets the subject's newest alert and says what becomes of it; None: nothing.
            alert_id: of the alert that `decide` gets instead.
            listed: whether to wait until the table `alerts` has it too, and the notifications.

        Returns:
            What `decide` returned, once it is stored.

        Raises:
            RedisError, DatabaseAwayError, Retry, TimeoutError: when it was not to be done now.
        """
        step, told = await asyncio.shield(self._task(self._change(subject, decide, alert_id)))
        if listed and told is not None:
            await asyncio.shield(told)
        elif told is not None and len(self._under_way) > self._max_under_way:
            # Breaches come faster than they are listed and told of: their senders are held back.
            await asyncio.wait([told])
        return step

    async def reconcile(self, subject: Subject) -> set[str]:
        """Leaves one open alert of a subject, the first, should there ever be more.

        Returns:
            The ids of those that are cleared now.
        """
        closed = []
        async with self._leases.of(subject) as lease:
            records = await self._history.of_subject(subject)
            alike = sorted(
                (one for one in records if one.open),
                key=lambda one: (one.alert.first_at, one.alert.alert_id),
            )
            for other in alike[1:]:
                note, now = f"the same as alert {alike[0].alert.alert_id}", self._now()
                step = life.cleared(other, SYSTEM, now, now, note)
                await self._store(step)
                await self._history.record(step.record)
                closed.append(step)
            lease.record = next(iter(alike or records), None)
        for step in closed:
            if step.change is not None:
                await self._outbox.put(step.change, news=False)
            self._log.warning("two alerts were one", closed=step.record.alert.alert_id)
        return {step.record.alert.alert_id for step in closed}

    async def complete(self, change: AlertChange) -> None:
        """Writes the alert of a change whose process died before it did."""
        subject = Subject(change.alert.device_id, change.alert.episode)
        for record in await self._history.of_subject(subject):
            if record.alert.alert_id == change.alert.alert_id:
                await self._history.record(record)

    async def settled(self) -> None:
        """Waits until what is stored by now is listed and told of, or left to a later sweep."""
        if self._telling:
            await asyncio.wait(set(self._telling.values()))

    async def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Waits for the decisions under way, and until they are listed and told of.

        Args:
            seconds: after which the rest is left to a later sweep.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._under_way:
                    await asyncio.wait(self._under_way)
        if left := set(self._under_way):
            self._log.warning("left to a later sweep", count=len(left))
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    def _task(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _change(
        self, subject: Subject, decide: Decide, alert_id: str | None
    ) -> tuple[Step | None, asyncio.Task[None] | None]:
        async with self._leases.of(subject) as lease:
            current = await self._current(lease)
            about = await self._about(subject, current, alert_id)
            lease.record = current
            step = decide(about)
            if step is None:
                return None, None
            if step.record.live and step.stored:
                # Before it is stored: what is open must never be missing among the watched.
                await self._leases.watch([subject])
            await self._store(step)
            if current is None or _follows(step.record, current):
                lease.record = step.record
            if step.stored and not (lease.record or step.record).live:
                with contextlib.suppress(RedisError):  # the next sweep does it
                    await self._leases.unwatch([subject])
        try:
            closed = await self._reconciled(step) if lease.lost and step.stored else set()
        except Exception:
            self._task(self._listed(step.record))
            raise
        if step.change is None:
            return step, None
        news = step.record.alert.alert_id not in closed
        return step, self._tell(subject, step.record, step.change, news=news)

    def _tell(
        self, subject: Subject, record: Record, change: AlertChange, *, news: bool
    ) -> asyncio.Task[None]:
        """Lists and tells of a change in the background, in the order of the subject's changes."""
        task = self._task(self._told(record, change, self._telling.get(subject), news=news))
        self._telling[subject] = task

        def ended(_task: asyncio.Task[None]) -> None:
            if self._telling.get(subject) is task:
                del self._telling[subject]
            if not task.cancelled() and (error := task.exception()) is not None:
                alert_id = record.alert.alert_id
                self._log.warning("left to a later sweep", alert=alert_id, error=str(error))

        task.add_done_callback(ended)
        return task

    async def _told(
        self,
        record: Record,
        change: AlertChange,
        before: asyncio.Task[None] | None,
        *,
        news: bool,
    ) -> None:
        await self._history.record(record)
        if before is not None:
            await asyncio.wait([before])
        await self._outbox.put(change, news=news)

    async def _listed(self, record: Record) -> None:
        """Lists what has happened though its caller hears of an error; a later sweep tells."""
        try:
            await self._history.record(record)
        except DatabaseAwayError as error:
            self._log.warning(
                "left to a later sweep", alert=record.alert.alert_id, error=str(error)
            )

    async def _current(self, lease: Lease) -> Record | None:
        if lease.known:
            return lease.record
        records = await self._history.of_subject(lease.subject)
        # An open one is what counts, should there ever be a newer one beside it.
        return next((one for one in records if one.open), records[0] if records else None)

    async def _about(
        self, subject: Subject, current: Record | None, alert_id: str | None
    ) -> Record | None:
        if alert_id is None or (current is not None and current.alert.alert_id == alert_id):
            return current
        records = await self._history.of_subject(subject)
        return next((one for one in records if one.alert.alert_id == alert_id), None)

    async def _store(self, step: Step) -> None:
        """Writes the fact: the change, or without one the alert itself."""
        if step.change is not None:
            await self._changes.append(step.change)
            _count(step.change)
        elif step.stored:
            await self._history.record(step.record)

    async def _reconciled(self, step: Step) -> set[str]:
        """Redis lost the lease: somebody else may have decided at the same time."""
        alert = step.record.alert
        subject = Subject(alert.device_id, alert.episode)
        self._log.warning("lease lost", device=subject.device_id, episode=subject.episode)
        if step.record.live:
            # Who found the watched ones anew meanwhile did not know of it yet.
            await self._leases.watch([subject])
        return await self.reconcile(subject)


def _follows(record: Record, current: Record) -> bool:
    if record.alert.alert_id == current.alert.alert_id:
        return True
    return record.alert.first_at >= current.alert.first_at


def _count(change: AlertChange) -> None:
    alert = change.alert
    alert_metrics.ALERT_CHANGES.labels(change.kind).inc()
    if change.kind in (ChangeKind.RAISED, ChangeKind.REOPENED):
        alert_metrics.ALERTS_RAISED.labels(alert.alert_type, alert.severity).inc()
    if change.kind is ChangeKind.CLEARED:
        alert_metrics.ALERTS_CLEARED.labels("system" if change.by == SYSTEM else "user").inc()
