"""The devices: what ClickHouse knows of them, and when Redis saw them last."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import RedisError

from sensor_shared.adapters.database import Database
from sensor_shared.adapters.latest import LatestReadings

_PAGE = """
SELECT device_id, device_type, region, latitude, longitude
FROM devices FINAL ORDER BY device_id LIMIT {limit:UInt32} OFFSET {offset:UInt64}
"""
_TOTAL = "SELECT count() FROM devices FINAL"
# Bounded to what is cheap: a page of devices over the last hour, not over 90 days.
_SEEN = """
SELECT device_id, max(timestamp) FROM readings
WHERE device_id IN {devices:Array(String)} AND timestamp > now64(3) - INTERVAL 1 HOUR
GROUP BY device_id
"""


@dataclass(frozen=True, slots=True)
class Device:
    """One device; `last_seen` is its newest reading's own time, None when that is not known."""

    device_id: str
    device_type: str
    region: str | None
    latitude: float | None
    longitude: float | None
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class DevicePage:
    """Some of the devices, the number of all, and whether Redis knew when they were seen."""

    devices: list[Device]
    total: int
    seen_by_redis: bool


class Devices:
    """The fleet in pages."""

    def __init__(self, database: Database, latest: LatestReadings):
        self._database = database
        self._latest = latest

    async def page(self, number: int, size: int) -> DevicePage:
        """Returns a page of the devices ordered by id.

        Without Redis, when they were seen comes from ClickHouse, as far as that was within
        the last hour.

        Args:
            number: from 1.
            size: devices on a page.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        rows, total = await asyncio.gather(
            self._database.rows(_PAGE, limit=size, offset=(number - 1) * size),
            self._database.rows(_TOTAL),
        )
        ids = [row[0] for row in rows]
        try:
            seen, by_redis = await self._seen_by_redis(ids), True
        except (RedisError, OSError):
            seen, by_redis = await self._seen_by_clickhouse(ids), False
        devices = [_device(row, seen) for row in rows]
        return DevicePage(devices, int(total[0][0]), by_redis)

    async def _seen_by_redis(self, ids: Sequence[str]) -> dict[str, datetime]:
        moments = await self._latest.last_seen(ids)
        return {
            device_id: datetime.fromtimestamp(moment / 1000, UTC)
            for device_id, moment in zip(ids, moments, strict=True)
            if moment is not None
        }

    async def _seen_by_clickhouse(self, ids: Sequence[str]) -> dict[str, datetime]:
        rows = await self._database.rows(_SEEN, devices=list(ids)) if ids else []
        return {
            device_id: moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            for device_id, moment in rows
        }


def _device(row: tuple[Any, ...], seen: Mapping[str, datetime]) -> Device:
    device_id, device_type, region, latitude, longitude = row
    return Device(device_id, device_type, region or None, latitude, longitude, seen.get(device_id))
