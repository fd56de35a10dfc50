"""Figures about the whole system: from the list of devices, the rollups and the parts on disk."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np

from sensor_gateway.cache import Answer, Cache
from sensor_gateway.devices import Devices
from sensor_gateway.standings import Roll
from sensor_shared.adapters.database import Database, TooMuchError
from sensor_shared.contracts.events import rfc3339_ms

_MINUTE: Final = 60
_HOUR: Final = 3_600

_MADE: Final = "SELECT toUnixTimestamp(max(begun_at)) FROM rollup_runs"
_DISK: Final = """
SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts
WHERE active AND database = currentDatabase() AND table IN ('readings', 'rejects')
GROUP BY table
"""
# Their times let ClickHouse pass by all parts but the newest.
_IN_MINUTES: Final = """
SELECT sum(readings), sumIf(readings, time >= toDateTime({last:UInt32}, 'UTC'))
FROM readings_minute FINAL
WHERE time >= toDateTime({start:UInt32}, 'UTC') AND time < toDateTime({end:UInt32}, 'UTC')
"""
_IN_HOURS: Final = """
SELECT sum(readings) FROM readings_hour FINAL
WHERE time >= toDateTime({start:UInt32}, 'UTC') AND time < toDateTime({end:UInt32}, 'UTC')
"""
_EVER: Final = "SELECT sum(readings) FROM readings_day FINAL"
_BY_KIND: Final = """
SELECT region, device_type, sum(counted) FROM (
    SELECT device_id, sum(readings) AS counted FROM readings_minute FINAL
    WHERE time >= toDateTime({start:UInt32}, 'UTC') AND time < toDateTime({end:UInt32}, 'UTC')
    GROUP BY device_id
) AS made
INNER JOIN (SELECT device_id, region, device_type FROM devices FINAL) AS known USING (device_id)
GROUP BY region, device_type
"""
_REJECTS: Final = """
SELECT reason, count() FROM rejects FINAL
WHERE received_at >= toDateTime({start:UInt32}, 'UTC')
GROUP BY reason ORDER BY reason
"""


class Stats:
    """Counts; what would take too much is null rather than guessed.

    Args:
        database: of the facts.
        devices: of the fleet.
        cache: of the answer.
        ttl_seconds: age at which it is made anew.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(
        self,
        database: Database,
        devices: Devices,
        cache: Cache,
        *,
        ttl_seconds: float,
        now_ms: Callable[[], int],
    ):
        self._database = database
        self._devices = devices
        self._cache = cache
        self._ttl_seconds = ttl_seconds
        self._now_ms = now_ms

    async def get(self) -> Answer:
        """Returns the figures as JSON.

        Raises:
            DatabaseAwayError: when ClickHouse is away and no figures are known.
        """
        return await self._cache.get("stats", self._count, ttl_seconds=self._ttl_seconds)

    async def _count(self) -> bytes:
        now_ms = self._now_ms()
        rolled, readings, rejects, disk = await asyncio.gather(
            self._devices.roll.get(),
            self._readings(),
            self._rows(_REJECTS, start=now_ms // 1000 - _HOUR),
            self._rows(_DISK),
        )
        _, roll = rolled.value
        on_disk = {table: (rows, size) for table, rows, size in disk or []}
        return msgspec.json.encode(
            {
                "at": rfc3339_ms(now_ms),
                "devices": _devices(roll, now_ms),
                "readings": {
                    **readings,
                    "rows": on_disk.get("readings", (0, 0))[0],
                    "bytes_on_disk": on_disk.get("readings", (0, 0))[1],
                },
                "rejects": {
                    "rows": on_disk.get("rejects", (0, 0))[0],
                    "last_hour": None if rejects is None else sum(count for _, count in rejects),
                    "last_hour_by_reason": None if rejects is None else dict(rejects),
                },
            }
        )

    async def _readings(self) -> dict[str, Any]:
        """Counts in the rollups, in which each reading is once, up to the last run of them."""
        [[made]] = await self._database.rows(_MADE)
        end = int(made) // _MINUTE * _MINUTE
        hour = end // _HOUR * _HOUR
        minutes, hours, ever, kinds = await asyncio.gather(
            self._rows(_IN_MINUTES, start=max(0, end - _HOUR), last=max(0, end - _MINUTE), end=end),
            self._rows(_IN_HOURS, start=max(0, hour - 24 * _HOUR), end=hour),
            self._rows(_EVER),
            self._rows(_BY_KIND, start=max(0, end - _HOUR), end=end),
        )
        last_hour, last_minute = minutes[0] if minutes and made else (None, None)
        return {
            "up_to": _second(end) if made else None,
            "last_minute": last_minute,
            "last_hour": last_hour,
            "last_day": hours[0][0] if hours and made else None,
            "total": ever[0][0] if ever and made else None,
            "per_second": None if last_minute is None else round(last_minute / _MINUTE, 3),
            "last_hour_by_region": _sums(kinds, 0),
            "last_hour_by_type": _sums(kinds, 1),
        }

    async def _rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]] | None:
        """Returns the rows, None when ClickHouse would have to read more than it may."""
        try:
            return await self._database.rows(sql, **parameters)
        except TooMuchError:
            return None


def _devices(roll: Roll, now_ms: int) -> dict[str, Any]:
    by_status = roll.counts()
    heard = roll.among(frozenset(by_status) - {"silent"})
    ages = np.maximum(0, now_ms - roll.seen_ms[heard]) / 1000
    newest = int(roll.seen_ms.max()) if len(roll.seen_ms) else 0
    return {
        "total": len(roll.fleet),
        "by_type": roll.fleet.counts("device_type"),
        "by_region": roll.fleet.counts("region"),
        "by_status": by_status,
        "newest_reading": rfc3339_ms(newest) if newest else None,
        "age_of_latest_seconds": None
        if not len(ages)
        else {
            "p50": round(float(np.quantile(ages, 0.5)), 3),
            "p99": round(float(np.quantile(ages, 0.99)), 3),
        },
    }


def _sums(kinds: list[tuple[Any, ...]] | None, column: int) -> dict[str, int] | None:
    if kinds is None:
        return None
    sums: dict[str, int] = {}
    for row in sorted(kinds):
        sums[row[column]] = sums.get(row[column], 0) + row[2]
    return sums


def _second(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")
