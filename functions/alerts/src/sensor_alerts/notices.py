"""Which changes people are told of, within the limits on notifications."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from redis.exceptions import RedisError

from sensor_alerts.domain.alert import epoch_ms
from sensor_alerts.domain.limits import Gate, Notification
from sensor_shared.contracts.alert_changes import AlertChange, AlertSnapshot, AlertState, ChangeKind
from sensor_shared.telemetry import metrics

_PAUSE_SECONDS: Final = 1.0


class Queue(Protocol):
    """Tells people; never waits."""

    def submit(self, alert: AlertSnapshot) -> None:
        """Takes an alert to be told of."""


class Notices:
    """Tells of alerts that are new, open again, or worse; see `outbox.Notifier`.

    Args:
        gate: the limits that replicas share.
        local_gate: the limits while Redis is away.
        queue: tells people.
        clock: seconds, for the pause after Redis did not answer.
    """

    def __init__(
        self,
        gate: Gate,
        local_gate: Gate,
        queue: Queue,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._gate = gate
        self._local_gate = local_gate
        self._queue = queue
        self._clock = clock
        self._failed_at = float("-inf")

    async def offer(self, change: AlertChange) -> None:
        """Takes a change."""
        if not _is_news(change):
            return
        alert, now_ms = change.alert, epoch_ms(change.at)
        notification = Notification(alert.device_id, alert.subject, alert.severity.rank)
        away = self._clock() - self._failed_at < _PAUSE_SECONDS
        try:
            gate = self._local_gate if away else self._gate
            held_back = await gate.claim(notification, now_ms)
        except RedisError:
            self._failed_at = self._clock()
            held_back = await self._local_gate.claim(notification, now_ms)
        if held_back is not None:
            metrics.ALERTS_SUPPRESSED.labels(held_back.value).inc()
            return
        self._queue.submit(alert)


def _is_news(change: AlertChange) -> bool:
    if change.alert.state is not AlertState.OPEN:
        return False
    if change.kind in (ChangeKind.RAISED, ChangeKind.REOPENED):
        return True
    before = change.severity_before
    worse = before is not None and change.alert.severity.rank > before.rank
    return change.kind is ChangeKind.UPDATED and worse
