"""Whether people are told now: silences first, then the limits that replicas share."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from redis.exceptions import RedisError

from sensor_alerts.domain.limits import Gate, HeldBack, Occasion
from sensor_alerts.domain.notification import rank
from sensor_alerts.domain.silence import Silence
from sensor_alerts.silences.silences import Silences
from sensor_shared.contracts.alert_changes import AlertChange
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

SILENCED: Final = "silenced"
_REDIS_PAUSE_SECONDS: Final = 1.0


class FallbackGate:
    """A gate that goes on by itself while the one in Redis is away, see `Gate`.

    Args:
        shared: raises `RedisError` when Redis is away.
        local: the limits as this process alone can keep them.
        clock: seconds.
    """

    def __init__(self, shared: Gate, local: Gate, clock: Callable[[], float] = time.monotonic):
        self._shared = shared
        self._local = local
        self._clock = clock
        self._failed_at = float("-inf")
        self._log = logger(part="notify")

    async def claim(self, occasion: Occasion, now_ms: int) -> HeldBack | None:
        """See `Gate`; for a second after a failure Redis is not asked again."""
        if self._clock() - self._failed_at >= _REDIS_PAUSE_SECONDS:
            try:
                return await self._shared.claim(occasion, now_ms)
            except RedisError as error:
                self._failed_at = self._clock()
                self._log.warning("Redis away: limits kept here", error=str(error))
        return await self._local.claim(occasion, now_ms)


class Decision:
    """Says why a change is not told of now."""

    def __init__(self, silences: Silences, gate: Gate):
        self._silences = silences
        self._gate = gate

    async def silenced(self, change: AlertChange, now: datetime) -> str | None:
        """Returns `silenced by <id>` when a silence holds, else None.

        Raises:
            DatabaseAwayError: when the silences have never been read yet.
        """
        silence = await self._silences.over(change.alert, now)
        return None if silence is None else _by(silence)

    def standing(self, now: datetime) -> list[str]:
        """Returns the reasons of silences that hold, and covered what they cover from the first."""
        return [
            _by(silence)
            for silence in self._silences.known
            if silence.updated_at == silence.created_at and silence.holds(now)
        ]

    async def limited(self, change: AlertChange, now: datetime) -> str | None:
        """Takes the right to tell of a change; returns the limit that stands against it."""
        alert = change.alert
        occasion = Occasion(change.change_id, alert.device_id, alert.subject, rank(alert.severity))
        held_back = await self._gate.claim(occasion, int(now.timestamp() * 1000))
        return None if held_back is None else held_back.value


def _by(silence: Silence) -> str:
    return f"{SILENCED} by {silence.silence_id}"


def count_held_back(channel: str, reason: str) -> None:
    """Counts one notification that is held back; the id of a silence is no label."""
    label = SILENCED if reason.startswith(SILENCED) else reason
    alert_metrics.NOTIFY_HELD_BACK.labels(channel, label).inc()
