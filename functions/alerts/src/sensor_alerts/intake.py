"""What becomes of a request for an alert, whichever way it came."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Protocol
from weakref import WeakValueDictionary

import msgspec
from redis.exceptions import RedisError

from sensor_alerts.domain.alert import Alert, epoch_ms, opened, rank, severity_of
from sensor_alerts.episodes import Episode, Episodes, Outcome, rebuilt
from sensor_alerts.history import History
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.alert_changes import (
    SYSTEM,
    AlertChange,
    AlertSnapshot,
    ChangeKind,
    change_id,
)
from sensor_shared.contracts.alerts import AlertRequested
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.rules import Rules, Severity
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_REDIS_PAUSE_SECONDS: Final = 1.0
_MAX_CHANGED: Final = 100_000
_SAME: Final = (
    *("alert_id", "device_id", "rule_id", "alert_type", "severity", "message", "metric", "value"),
    *("threshold", "latitude", "longitude", "region", "metadata", "count", "version"),
)


class Notifier(Protocol):
    """Tells people."""

    async def offer(self, change: AlertChange) -> None:
        """Takes a change to be told of; returns when it is recorded who is told.

        Raises:
            DatabaseAwayError: when it cannot be recorded now.
        """


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a request.

    Attributes:
        alert_id: of the alert that it belongs to.
        outcome: OPENED, JOINED or REPEATED.
    """

    alert_id: str
    outcome: Outcome
    processed_at: datetime


class Intake:
    """Records alerts and decides who is told.

    A request is answered when the history has its alert. With Redis away every replica decides
    by itself, from the history: nothing is lost, but people may be told more than once.

    Args:
        rules: give the severity when the request does not.
        history: the facts.
        episodes: the open alerts that replicas share.
        notifier: tells people.
        now: the time, UTC.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        history: History,
        episodes: Episodes,
        notifier: Notifier,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._rules = rules
        self._history = history
        self._episodes = episodes
        self._notifier = notifier
        self._now = now
        self._changed: dict[str, Alert] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._redis_failed_at = float("-inf")
        self._log = logger(part="intake")

    async def accept(self, request: AlertRequested, way: Literal["grpc", "event"]) -> Accepted:
        """Takes a request.

        Raises:
            InvalidRequestError: when it can never be taken.
            Retry: when the history is away.
        """
        metrics.ALERTS_RECEIVED.labels(way).inc()
        now = self._now()
        breach = opened(request, self._rules, now)
        try:
            outcome, alert = await self._take(breach, now)
        except DatabaseAwayError as error:
            raise Retry("the history of alerts is not available", after=1) from error
        self._log.debug(
            "alert taken", way=way, outcome=outcome, alert=alert.alert_id, device=alert.device_id
        )
        return Accepted(alert.alert_id, outcome, now)

    async def flush(self) -> None:
        """Records what has changed in open alerts since it was last recorded.

        Raises:
            Retry: when the history is away; what has changed is kept.
        """
        changed, self._changed = self._changed, {}
        try:
            await asyncio.gather(*(self._history.record(alert) for alert in changed.values()))
        except DatabaseAwayError as error:
            self._changed = changed | self._changed
            raise Retry("the history of alerts is not available", after=1) from error

    async def emailed(self, snapshot: AlertSnapshot) -> None:
        """Records that the mail server took the mail about an alert."""
        alert = _alert(snapshot)
        current: Alert | None = None
        with contextlib.suppress(RedisError):
            current = await self._episodes.note_emailed(alert)
        try:
            if current is None:
                known = await self._history.find(alert) or alert
                current = msgspec.structs.replace(known, email_sent=True, version=known.version + 1)
            await self._history.record(current)
        except DatabaseAwayError:
            self._keep(current or msgspec.structs.replace(alert, email_sent=True))

    async def _take(self, breach: Alert, now: datetime) -> tuple[Outcome, Alert]:
        if self._redis_is_there():
            try:
                return await self._take_shared(breach, now)
            except RedisError as error:
                self._redis_is_away(error)
        async with self._alone(breach):
            return await self._take_alone(breach, now)

    async def _take_shared(self, breach: Alert, now: datetime) -> tuple[Outcome, Alert]:
        outcome, episode = await self._episodes.touch(breach)
        if episode is None:
            known = await self._history.find(breach)
            if outcome is Outcome.LATE:
                return await self._take_late(breach, known)
            opening = Episode(breach, 0, 0) if known is None else rebuilt(known)
            outcome, episode = await self._episodes.touch(breach, opening)
            if episode is None:  # between the two steps a newer alert was opened
                return await self._take_late(breach, known)
            if outcome is Outcome.OPENED and known is not None:
                outcome = Outcome.REPEATED
        alert = episode.alert
        if rank(alert.severity) > episode.stored:
            await self._history.record(alert)
            with contextlib.suppress(RedisError):  # then the next breach writes it again
                await self._episodes.note_stored(alert)
        elif outcome is Outcome.JOINED:
            self._keep(alert)
        if outcome is Outcome.OPENED:
            metrics.ALERTS_RAISED.labels(alert.alert_type, alert.severity).inc()
        if rank(alert.severity) > episode.notified:
            before = severity_of(episode.notified) if episode.notified else None
            await self._notifier.offer(_change(alert, before, now))
            with contextlib.suppress(RedisError):
                await self._episodes.note_notified(alert)
        else:
            metrics.ALERTS_SUPPRESSED.labels(outcome.value).inc()
        return outcome, alert

    async def _take_late(self, breach: Alert, known: Alert | None) -> tuple[Outcome, Alert]:
        """Records what is older than the open alert; it is news to nobody."""
        metrics.ALERTS_SUPPRESSED.labels(Outcome.LATE.value).inc()
        if known is not None:
            return Outcome.REPEATED, known
        await self._history.record(breach)
        metrics.ALERTS_RAISED.labels(breach.alert_type, breach.severity).inc()
        return Outcome.OPENED, breach

    async def _take_alone(self, breach: Alert, now: datetime) -> tuple[Outcome, Alert]:
        known = await self._history.find(breach)
        if known is not None and known.alert_id == breach.alert_id:
            return Outcome.REPEATED, known
        if known is not None and rank(known.severity) >= rank(breach.severity):
            metrics.ALERTS_SUPPRESSED.labels(Outcome.JOINED.value).inc()
            return Outcome.JOINED, known
        alert = breach if known is None else known.joined_by(breach)
        await self._history.record(alert)
        if known is None:
            metrics.ALERTS_RAISED.labels(alert.alert_type, alert.severity).inc()
        await self._notifier.offer(_change(alert, None if known is None else known.severity, now))
        return (Outcome.OPENED if known is None else Outcome.JOINED), alert

    def _alone(self, alert: Alert) -> asyncio.Lock:
        """Keeps two changes of one alert, each read and written, from the same version."""
        return self._locks.setdefault(alert.device_id, asyncio.Lock())

    def _redis_is_there(self) -> bool:
        return time.monotonic() - self._redis_failed_at >= _REDIS_PAUSE_SECONDS

    def _redis_is_away(self, error: RedisError) -> None:
        """Lets the next requests not wait for Redis, one after the other."""
        if self._redis_is_there():
            self._log.warning("Redis away", error=str(error))
        self._redis_failed_at = time.monotonic()

    def _keep(self, alert: Alert) -> None:
        known = self._changed.get(alert.alert_id)
        if known is not None and known.version >= alert.version:
            return
        if known is not None or len(self._changed) < _MAX_CHANGED:
            self._changed[alert.alert_id] = alert


def _change(alert: Alert, before: Severity | None, now: datetime) -> AlertChange:
    """Returns the change that people are told of; the same severity of an alert is the same one."""
    return AlertChange(
        change_id=change_id(alert.alert_id, rank(alert.severity)),
        kind=ChangeKind.RAISED if before is None else ChangeKind.UPDATED,
        at=now,
        by=SYSTEM,
        severity_before=before,
        alert=AlertSnapshot(
            **{name: getattr(alert, name) for name in _SAME},
            first_at=alert.timestamp,
            last_at=datetime.fromtimestamp(alert.last_ms / 1000, UTC),
        ),
    )


def _alert(snapshot: AlertSnapshot) -> Alert:
    """Returns the alert of a snapshot that `_change` has made."""
    fields = {name: getattr(snapshot, name) for name in _SAME}
    return Alert(
        **fields,
        timestamp=snapshot.first_at,
        last_ms=epoch_ms(snapshot.last_at),
        processed_at=snapshot.last_at,
    )
