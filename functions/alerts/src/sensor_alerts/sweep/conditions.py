"""Open and pending alerts, looked at in the light of the newest stored readings."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sensor_alerts.domain import conditions, life
from sensor_alerts.domain.alert import Record, epoch_ms, from_ms
from sensor_alerts.domain.conditions import CALM_MS, KEEP, Verdict
from sensor_alerts.domain.life import Step
from sensor_alerts.history import History
from sensor_alerts.leases import Leases, Subject
from sensor_alerts.ledger import Ledger
from sensor_alerts.sweep.readings import Series, StoredReadings
from sensor_shared.contracts.alert_changes import SYSTEM
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.rules import AlertRule, Rules
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

_TOGETHER: Final = 32
"""Decisions under way at the same time."""
_DAY_MS: Final = 86_400_000
_KEEP_ALIVE: Final = timedelta(days=10)
"""An open alert is written again so often, or its row would expire."""
_ABANDONED_MS: Final = 3_600_000
"""A pending alert whose device sends nothing for so long is dropped."""

Live = dict[Subject, Record]


class Conditions:
    """Raises, drops, eases and clears.

    Args:
        leases: know which subjects have an open or pending alert.
        ledger: stores what is decided.
        history: from which that is rebuilt.
        readings: the facts.
        quiet_ms: after which an alert whose rule is not among the rules is over.
        update: how often the last value and the count of an alert that goes on are written.
    """

    def __init__(
        self,
        leases: Leases,
        ledger: Ledger,
        history: History,
        readings: StoredReadings,
        *,
        quiet_ms: int,
        update: timedelta,
    ):
        self._leases = leases
        self._ledger = ledger
        self._history = history
        self._readings = readings
        self._quiet_ms = quiet_ms
        self._update = update
        self._log = logger(part="conditions")

    async def live(self) -> Live:
        """Returns the open and pending alerts.

        From time to time, and when Redis was emptied, ClickHouse is asked which they are.
        """
        known = await self._leases.watched()
        subjects = await self._rebuild() if known is None else known
        records = dict(zip(subjects, await self._leases.peek(subjects), strict=True))
        unknown = [subject for subject, record in records.items() if record is None]
        for subject, stored in zip(
            unknown,
            await asyncio.gather(*(self._history.of_subject(one) for one in unknown)),
            strict=True,
        ):
            records[subject] = next((one for one in stored if one.live), None)
        over = [subject for subject, record in records.items() if not (record and record.live)]
        for subject in over:
            # Under the lease: it may just be opened again.
            await self._decide(subject, lambda current: Step(current) if current else None)
            if records[subject] is None:
                await self._leases.unwatch([subject])
        live = {key: record for key, record in records.items() if record and record.live}
        states = Counter("pending" if record.pending else "open" for record in live.values())
        for state in ("open", "pending"):
            alert_metrics.ALERTS_WATCHED.labels(state).set(states[state])
        return live

    async def decide(self, live: Live, rules: Rules, now: datetime) -> None:
        """Decides about alerts whose rules look at values, and those of rules that are unknown."""
        about = _about(live, rules)
        moments: dict[str, int] = {}
        of_device: dict[str, list[Subject]] = {}
        for subject, (record, rule) in about.items():
            of_device.setdefault(subject.device_id, []).append(subject)
            if rule is not None:
                since = self._since(record, rule, epoch_ms(now))
                moments[subject.device_id] = min(since, moments.get(subject.device_id, since))
        places = asyncio.Semaphore(_TOGETHER)

        async def one(subject: Subject, found: Series) -> None:
            record, rule = about[subject]

            def decision(current: Record | None) -> Step | None:
                if current is None or current.alert.alert_id != record.alert.alert_id:
                    return None
                return self._step(current, rule, found, now)

            if decision(record) is not None:
                async with places:
                    await self._decide(subject, decision)

        async for series in self._readings.since(moments):
            await asyncio.gather(
                *(one(key, found) for id_, found in series.items() for key in of_device.pop(id_))
            )
        nothing = Series()
        await asyncio.gather(*(one(key, nothing) for some in of_device.values() for key in some))

    async def _decide(
        self, subject: Subject, decision: Callable[[Record | None], Step | None]
    ) -> None:
        try:
            await self._ledger.change(subject, decision)
        except (Retry, TimeoutError) as error:
            self._log.warning("left to the next sweep", device=subject.device_id, error=str(error))

    def _since(self, record: Record, rule: AlertRule, now_ms: int) -> int:
        if record.pending:
            return record.first_ms
        needed = CALM_MS if rule.by_reading else int(rule.window * 1000)
        return max(min(record.settled_ms, now_ms) - needed - 1_000, now_ms - _DAY_MS)

    def _step(
        self, record: Record, rule: AlertRule | None, series: Series, now: datetime
    ) -> Step | None:
        if not record.live:
            return None
        if rule is not None:
            verdict = _verdict(record, rule, series.of(rule.metric))
            if verdict.kind != "keep":
                return _follow(record, verdict, now)
        return self._by_time(record, rule, now)

    def _by_time(self, record: Record, rule: AlertRule | None, now: datetime) -> Step | None:
        """Decides what no reading does."""
        silent_ms = epoch_ms(now) - record.settled_ms
        if record.pending:
            abandoned = rule is None or silent_ms > rule.for_ * 1000 + _ABANDONED_MS
            return life.dropped(record, now, now) if abandoned else None
        if rule is None and silent_ms > self._quiet_ms:
            over = from_ms(record.settled_ms + self._quiet_ms)
            return life.cleared(record, SYSTEM, over, now, "no further breach")
        waited = now - record.updated_at
        if (record.dirty and waited >= self._update) or waited >= _KEEP_ALIVE:
            return life.updated(record, now)
        return None

    async def _rebuild(self) -> Sequence[Subject]:
        records = await self._history.live()
        subjects = [Subject(one.alert.device_id, one.alert.episode) for one in records]
        await self._leases.watch(subjects)
        for subject, count in Counter(subjects).items():
            if count > 1:
                await self._ledger.reconcile(subject)
        await self._leases.complete()
        self._log.info("open alerts rebuilt from the history", count=len(records))
        return await self._leases.watched() or subjects


def _about(live: Live, rules: Rules) -> dict[Subject, tuple[Record, AlertRule | None]]:
    """Returns the alerts that this decides about, with the rule that holds; None: none does."""
    about: dict[Subject, tuple[Record, AlertRule | None]] = {}
    for subject, record in live.items():
        alert = record.alert
        if any(one.id == alert.rule_id for one in rules.silence):
            continue
        rule = rules.rule(alert.rule_id)
        if rule and not rules.applies(rule, alert.device_id, alert.region or None):
            rule = None  # another rule has taken its place
        about[subject] = (record, rule)
    return about


def _follow(record: Record, verdict: Verdict, now: datetime) -> Step:
    at = from_ms(verdict.at_ms)
    match verdict.kind:
        case "raise":
            return life.raised(record, verdict.value, at, verdict.severity, now)
        case "drop":
            return life.dropped(record, at, now)
        case "clear":
            return life.cleared(record, SYSTEM, at, now)
        case _:
            return life.updated(record, now, severity=verdict.severity)


def _verdict(record: Record, rule: AlertRule, readings: Sequence[conditions.Reading]) -> Verdict:
    if record.pending:
        return conditions.of_pending(rule, readings) if rule.by_reading else KEEP
    if rule.missing is not None:
        return conditions.of_missing(readings, record.settled_ms)
    if not rule.by_reading:
        return conditions.of_rate(rule, readings, record.settled_ms)
    return conditions.of_open(rule, readings, record.settled_ms, record.alert.severity)
