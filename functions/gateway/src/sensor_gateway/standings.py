"""When devices were last seen and what they said of themselves, from Redis or else ClickHouse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from redis.exceptions import RedisError

from sensor_gateway.fleet import Fleet
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.contracts.readings import STATUSES

Status = Literal["active", "error", "maintenance", "silent"]
SILENT: Final = "silent"
"""A device without a reading that is still a latest one."""
_CODES: Final = {name: code for code, name in enumerate((*STATUSES, SILENT))}
_NAMES: Final = tuple(_CODES)
_CHUNK: Final = 1_000

# Bounded to what is cheap: some devices over the last hour, not over 90 days.
_SOME: Final = """
SELECT device_id, toUnixTimestamp64Milli(max(timestamp)), argMax(status, timestamp) FROM readings
WHERE device_id IN {devices:Array(String)}
  AND timestamp > fromUnixTimestamp64Milli({since:Int64}, 'UTC')
GROUP BY device_id
"""
_ALL: Final = """
SELECT device_id, toUnixTimestamp64Milli(max(timestamp)), argMax(status, timestamp) FROM readings
WHERE timestamp > fromUnixTimestamp64Milli({since:Int64}, 'UTC')
GROUP BY device_id
"""
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Standing:
    """How a device stands; `seen_ms` is None when that is not known."""

    seen_ms: int | None
    status: str


@dataclass(frozen=True, slots=True)
class Roll:
    """How all devices of a fleet stand.

    Attributes:
        fleet: whose.
        codes: (devices,) of the statuses.
        seen_ms: (devices,) epoch milliseconds, 0 when that is not known.
        by_redis: where it comes from.
    """

    fleet: Fleet
    codes: npt.NDArray[np.int8]
    seen_ms: npt.NDArray[np.int64]
    by_redis: bool

    def among(self, statuses: frozenset[str]) -> npt.NDArray[np.bool_]:
        """Returns for each device whether it has one of the statuses."""
        wanted = np.array([name in statuses for name in _NAMES])
        return wanted[self.codes]

    def standing(self, position: int) -> Standing:
        """Returns how one of them stands."""
        return Standing(int(self.seen_ms[position]) or None, _NAMES[self.codes[position]])

    def counts(self) -> dict[str, int]:
        """Returns the number of devices by status."""
        numbers = np.bincount(self.codes, minlength=len(_NAMES)).tolist()
        return dict(zip(_NAMES, numbers, strict=True))


class Standings:
    """Asks Redis, and ClickHouse when Redis is away.

    Args:
        latest: of the devices.
        database: of the readings.
        ttl_ms: age at which a device without a newer reading is silent.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(self, latest: LatestReadings, database: Database, *, ttl_ms: int, now_ms: Any):
        self._latest = latest
        self._database = database
        self._ttl_ms = ttl_ms
        self._now_ms = now_ms

    async def of(self, ids: Sequence[str]) -> tuple[list[Standing], bool]:
        """Returns how some devices stand, and whether Redis knew; without it an hour back.

        Raises:
            DatabaseAwayError: when neither answers.
        """
        try:
            known = await self._latest.standings(ids)
        except (RedisError, OSError):
            found = await self._by_clickhouse(_SOME, _HOUR_MS, devices=list(ids)) if ids else {}
            return [found.get(id_, Standing(None, SILENT)) for id_ in ids], False
        return [Standing(seen, status or SILENT) for seen, status in known], True

    async def roll(self, fleet: Fleet) -> Roll:
        """Returns how all devices stand.

        Redis is asked in pieces, so that nobody else waits for it long.

        Raises:
            DatabaseAwayError: when neither answers.
        """
        try:
            rows = []
            for start in range(0, len(fleet), _CHUNK):
                rows += await self._latest.standings(fleet.ids[start : start + _CHUNK])
        except (RedisError, OSError):
            return await self._roll_by_clickhouse(fleet)
        codes = np.array([_CODES[status or SILENT] for _, status in rows], dtype=np.int8)
        seen = np.array([moment or 0 for moment, _ in rows], dtype=np.int64)
        return Roll(fleet, codes, seen, by_redis=True)

    async def _roll_by_clickhouse(self, fleet: Fleet) -> Roll:
        codes = np.full(len(fleet), _CODES[SILENT], dtype=np.int8)
        seen = np.zeros(len(fleet), dtype=np.int64)
        for device_id, standing in (await self._by_clickhouse(_ALL, self._ttl_ms)).items():
            at = fleet.find(device_id)
            if at is not None:
                codes[at], seen[at] = _CODES[standing.status], standing.seen_ms or 0
        return Roll(fleet, codes, seen, by_redis=False)

    async def _by_clickhouse(
        self, sql: str, back_ms: int, **parameters: Any
    ) -> dict[str, Standing]:
        now = self._now_ms()
        rows = await self._database.rows(sql, since=now - back_ms, **parameters)
        return {
            device_id: Standing(seen, status if seen > now - self._ttl_ms else SILENT)
            for device_id, seen, status in rows
        }
