"""What becomes of a request for an alert, whichever way it came."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from redis.exceptions import RedisError

from sensor_alerts.domain import life
from sensor_alerts.domain.alert import Record, breach
from sensor_alerts.domain.life import Outcome, Step
from sensor_alerts.history import History
from sensor_alerts.leases import Subject
from sensor_alerts.ledger import Ledger
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.contracts.alerts import AlertRequested
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.rules import Rules
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

Way = Literal["grpc", "event", "sweep"]
_REDIS_PAUSE_SECONDS: Final = 1.0


class CurrentRules(Protocol):
    """What this needs of `adapters.rules_file.RulesFile`."""

    @property
    def current(self) -> Rules:
        """The rules as they are now."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a request.

    Attributes:
        alert_id: of the alert that it belongs to.
        outcome: never LATE: what is late is OPENED, or REPEATED.
    """

    alert_id: str
    outcome: Outcome
    processed_at: datetime


class Intake:
    """Decides about breaches.

    A request is answered when ClickHouse has the change that it makes: from then on it has
    happened. While Redis, which says who decides, or ClickHouse is away, nothing is decided:
    requests come again.

    Args:
        rules: say what asks for more than one reading, and how bad it is.
        ledger: stores what is decided.
        history: is asked about late breaches.
        window_ms: so long after it was cleared an alert is opened again.
        now: the time, UTC.
    """

    def __init__(
        self,
        rules: CurrentRules,
        ledger: Ledger,
        history: History,
        *,
        window_ms: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._rules = rules
        self._ledger = ledger
        self._history = history
        self._window_ms = window_ms
        self._now = now
        self._redis_failed_at = float("-inf")
        self._log = logger(part="intake")

    async def accept(self, request: AlertRequested, way: Way) -> Accepted:
        """Takes a request.

        Raises:
            InvalidRequestError: when it can never be taken.
            Retry: when it cannot be decided on now.
        """
        return await self.admit(breach(request, self._rules.current, self._now()), way)

    async def admit(self, found: AlertSnapshot, way: Way) -> Accepted:
        """Takes a breach, as the alert that it would open.

        Raises:
            Retry: when it cannot be decided on now.
        """
        alert_metrics.ALERTS_RECEIVED.labels(way).inc()
        if time.monotonic() - self._redis_failed_at < _REDIS_PAUSE_SECONDS:
            raise Retry("Redis did not answer just now", after=1)
        now = self._now()
        try:
            outcome, alert_id = await self._take(found, now)
        except DatabaseAwayError as error:
            raise Retry("the history of alerts is not available", after=1) from error
        except TimeoutError as error:
            raise Retry("the history of alerts is too slow", after=1) from error
        except RedisError as error:
            self._redis_failed_at = time.monotonic()
            self._log.warning("Redis away", error=str(error))
            raise Retry("Redis is not available", after=1) from error
        if outcome not in (Outcome.OPENED, Outcome.REOPENED):
            alert_metrics.ALERTS_SUPPRESSED.labels(outcome.value).inc()
        self._log.debug("breach taken", way=way, outcome=outcome, alert=alert_id)
        return Accepted(alert_id, outcome, now)

    async def _take(self, found: AlertSnapshot, now: datetime) -> tuple[Outcome, str]:
        rule = self._rules.current.rule(found.rule_id)
        waits = rule is not None and not rule.at_once
        outcome = Outcome.LATE

        def decide(current: Record | None) -> Step | None:
            nonlocal outcome
            outcome, step = life.take(
                current, found, waits=waits, window_ms=self._window_ms, now=now
            )
            return step

        subject = Subject(found.device_id, found.episode)
        step = await self._ledger.change(subject, decide)
        if step is not None:
            return outcome, step.record.alert.alert_id
        known = await self._history.around(found, self._window_ms)
        if known is not None:
            return Outcome.REPEATED, known.alert.alert_id
        alert_metrics.ALERTS_SUPPRESSED.labels(Outcome.LATE.value).inc()
        await self._ledger.change(subject, lambda _current: life.late(found, now))
        return Outcome.OPENED, found.alert_id
