"""The limits on notifications, kept in Redis for all replicas together."""

from collections.abc import Awaitable
from typing import Any, cast

from redis.asyncio import Redis

from sensor_alerts.domain.limits import HOUR_MS, MINUTE_MS, HeldBack, Limits, Occasion
from sensor_alerts.scripts import script


class RedisGate:
    """See `sensor_alerts.domain.limits.Gate`; raises `RedisError` when Redis is away."""

    def __init__(self, redis: Redis, limits: Limits, prefix: str = "alerts"):
        self._redis = redis
        self._limits = limits
        self._prefix = prefix
        self._window = redis.register_script(script("window"))
        self._claim = redis.register_script(script("claim"))

    async def claim(self, occasion: Occasion, now_ms: int) -> HeldBack | None:
        """Takes the right to send a notification; None: it may go.

        The overall limit is on another node of a cluster than the device's, so it is taken
        first and given back when the device's limits refuse.
        """
        limits, overall, name = self._limits, f"{self._prefix}:overall", occasion.name
        window = self._window(keys=[overall], args=[now_ms, MINUTE_MS, limits.per_minute, name])
        if not await cast("Awaitable[int]", window):
            return HeldBack.OVERALL_LIMIT
        device = f"{self._prefix}:{{{occasion.device_id}}}"
        claim = self._claim(
            keys=[f"{device}:told:{occasion.subject}", f"{device}:hour"],
            args=[
                now_ms,
                occasion.severity,
                limits.deduplication_ms,
                limits.cooldown_ms,
                limits.per_device_and_hour,
                HOUR_MS,
                name,
            ],
        )
        reason = await cast("Awaitable[bytes | str]", claim)
        if not reason:
            return None
        await cast("Awaitable[Any]", self._redis.zrem(overall, name))
        return HeldBack(reason.decode() if isinstance(reason, bytes) else reason)
