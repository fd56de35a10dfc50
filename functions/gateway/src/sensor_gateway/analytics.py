"""The analytics of a device: its trends as the function analytics judges them, its windows."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_gateway.cache import Cache
from sensor_gateway.windows import Windows
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.windows import WindowSettings, read_window
from sensor_shared.contracts.events import rfc3339_ms
from sensor_shared.contracts.readings import METRICS, UNITS
from sensor_shared.contracts.windows.layout import MINUTE_MS
from sensor_shared.contracts.windows.trend import Directions, Trends, directions, trends

_DIRECTIONS: Final = ("stable", "rising", "falling")  # by 0, 1 and -1
_STALE_SECONDS: Final = 600.0
"""How long windows are kept for need: there are as many of them as devices."""
_NO_DIRECTION: Final = np.zeros((1, len(METRICS)), dtype=np.int8)


@dataclass(frozen=True, slots=True)
class Report:
    """A device's analytics and where they come from.

    Attributes:
        body: JSON.
        source: which stores answered.
        age_seconds: of the windows.
    """

    body: bytes
    source: str
    age_seconds: int


class Analytics:
    """Joins what analytics keeps in Redis with what ClickHouse has stored.

    Args:
        redis: with the windows of analytics.
        windows: of the stored readings.
        cache: of answers about windows.
        settings: those of analytics.
        ttl_seconds: age at which a device's windows are asked for anew.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(
        self,
        redis: Redis,
        windows: Windows,
        cache: Cache,
        settings: WindowSettings,
        *,
        ttl_seconds: float,
        now_ms: Callable[[], int],
    ):
        self._redis = redis
        self._windows = windows
        self._cache = cache
        self._settings = settings
        self._ttl_seconds = ttl_seconds
        self._now_ms = now_ms

    async def of(self, device_id: str) -> Report:
        """Returns the analytics of a device that exists.

        Without Redis, or for a device that analytics has forgotten because it was silent, the
        trend is made of the stored readings by the same formula. Without ClickHouse there may
        be no windows.

        Raises:
            DatabaseAwayError: when neither has an answer.
        """
        (trend, trend_source), windows = await asyncio.gather(
            self._trend(device_id), self._summaries(device_id)
        )
        if trend is None and windows is None:
            raise DatabaseAwayError("ClickHouse is away, and Redis has no trend")
        sources = [source for source in (windows and windows[1], trend_source) if source]
        head = msgspec.json.encode({"device_id": device_id, "trend": trend})
        body = b'%s,"windows":%s}' % (head.removesuffix(b"}"), windows[0] if windows else b"null")
        return Report(body, ", ".join(dict.fromkeys(sources)), windows[2] if windows else 0)

    async def _trend(self, device_id: str) -> tuple[dict[str, Any] | None, str | None]:
        """Returns the trends, and who told: None, None when nobody can tell now."""
        settings = self._settings
        try:
            kept = await read_window(self._redis, settings, device_id)
        except (RedisError, OSError):
            kept = None
        if kept is not None:
            state, sums = kept
            found = trends(sums)
            return _trends(found, state["direction"], int(state["latest"][0]), settings), "redis"
        try:
            newest = await self._windows.newest_ms(device_id)
            if newest is None:
                return None, "clickhouse"
            count = settings.trend_window
            found = trends(await self._windows.sums(device_id, newest // MINUTE_MS, count))
        except DatabaseAwayError:
            return None, None
        judged = directions(
            found,
            _NO_DIRECTION,
            np.array(
                [settings.temperature_slope, settings.humidity_slope, settings.pressure_slope]
            ),
            significance=settings.significance,
            points=settings.trend_points,
        )
        return _trends(found, judged, newest, settings), "clickhouse"

    async def _summaries(self, device_id: str) -> tuple[bytes, str, int] | None:
        async def fill() -> bytes:
            now = self._now_ms()
            found = await self._windows.summaries(device_id, now)
            end = rfc3339_ms(now)
            return msgspec.json.encode(
                {
                    name: {
                        "from": rfc3339_ms(one["start_ms"]),
                        "to": end,
                        "readings": one["readings"],
                        "metrics": one["metrics"],
                    }
                    for name, one in found.items()
                }
            )

        try:
            answer = await self._cache.get(
                f"windows:{device_id}",
                fill,
                ttl_seconds=self._ttl_seconds,
                stale_seconds=_STALE_SECONDS,
            )
        except DatabaseAwayError:
            return None
        return answer.body, answer.source, answer.age_seconds


def _trends(
    found: Trends, direction: Directions, newest_ms: int, settings: WindowSettings
) -> dict[str, Any]:
    first = newest_ms // MINUTE_MS - settings.trend_window + 1
    return {
        "from": rfc3339_ms(first * MINUTE_MS),
        "to": rfc3339_ms(newest_ms),
        "metrics": {
            metric: _trend(found, which, int(direction[0, which]), settings.trend_points)
            for which, metric in enumerate(METRICS)
        },
    }


def _trend(found: Trends, which: int, direction: int, least: int) -> dict[str, Any] | None:
    """Returns the trend of one metric; None when it has no value in the window."""
    points = int(found.points[0, which])
    if not points:
        return None
    slope, error = float(found.slope[0, which]), float(found.error[0, which])
    return {
        "unit": UNITS[METRICS[which]],
        "direction": _DIRECTIONS[direction],
        "slope_per_hour": _number(slope),
        "standard_error": _number(error),
        "confidence": _confidence(slope, error) if points >= least else None,
        "points": points,
        "mean": round(float(found.mean[0, which]), 6),
        "min": float(found.low[0, which]),
        "max": float(found.high[0, which]),
    }


def _confidence(slope: float, error: float) -> float | None:
    """Returns how sure it is that the slope is not zero (two-sided, normal distribution)."""
    if math.isnan(slope) or math.isnan(error):
        return None
    if not error:
        return 1.0 if slope else 0.0
    return round(math.erf(abs(slope) / error / math.sqrt(2)), 6)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
