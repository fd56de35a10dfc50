"""All devices: when each was last seen, and in which region it stands."""

import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from redis.asyncio import Redis

from sensor_alerts.sweep.readings import StoredReadings
from sensor_shared.adapters.latest import LAST_SEEN, SEEN_EVERY_MS, LatestReadings

Moments = npt.NDArray[np.int64]

_REGIONS_SECONDS: Final = 300.0
_UNKNOWN_SECONDS: Final = 30.0
SEED_HOURS: Final = 2
_MAX_ASKED: Final = 5_000
"""Devices of one command."""


class Fleet:
    """Reads what the consumer keeps in Redis; raises `RedisError` when that is away.

    Args:
        redis: holds when devices were last seen.
        latest: knows it exactly.
        readings: know the regions, and when devices were seen before Redis was emptied.
        prefix: of this service's own keys.
    """

    def __init__(
        self, redis: Redis, latest: LatestReadings, readings: StoredReadings, prefix: str = "alerts"
    ):
        self._redis = redis
        self._latest = latest
        self._readings = readings
        self._seeded = f"{prefix}:last_seen:seeded"
        self._regions: dict[str, str] = {}
        self._loaded_at = float("-inf")

    async def seed(self) -> None:
        """Fills in when devices were last seen after Redis was emptied: some may stay silent."""
        if await self._redis.exists(self._seeded):
            return
        seen = await self._readings.last_seen(SEED_HOURS)
        items = list(seen.items())
        for start in range(0, len(items), _MAX_ASKED):
            some = dict(items[start : start + _MAX_ASKED])
            await self._redis.zadd(LAST_SEEN, some, gt=True)
        await self._redis.set(self._seeded, 1)

    async def seen(self, first_ms: int, last_ms: int) -> tuple[list[str], Moments]:
        """Returns the devices that were last seen in a span, and when.

        A moment may be up to `SEEN_EVERY_MS` too early: see `exact`.
        """
        answer: list[Any] = await self._redis.zrange(
            LAST_SEEN, first_ms, last_ms, byscore=True, withscores=True
        )
        ids = [device_id.decode() for device_id, _ in answer]
        return ids, np.fromiter((score for _, score in answer), np.int64, len(answer))

    async def heard(self, first_ms: int, devices: int) -> int | None:
        """Returns since when fewer than so many devices were seen; None: there are none.

        Of a small fleet half is enough, of one device this one. A few devices whose clocks are
        ahead do not stand for all.

        Args:
            first_ms: those that were last seen before do not count.
            devices: how many.
        """
        count: int = await self._redis.zcount(LAST_SEEN, first_ms, "+inf")
        place = min(devices, (count + 1) // 2) - 1
        if place < 0:
            return None
        found: list[Any] = await self._redis.zrange(LAST_SEEN, 0, place, desc=True)
        exact = await self.last_seen([device_id.decode() for device_id in found])
        return min(exact.values(), default=None)

    async def exact(
        self, ids: Sequence[str], moments: Moments, from_ms: int, to_ms: int
    ) -> Moments:
        """Returns the moments, exact for those for which it matters.

        Args:
            ids: the devices.
            moments: up to `SEEN_EVERY_MS` too early.
            from_ms: those that are earlier even if they are so much too early may stay so.
            to_ms: the same for those that are later.
        """
        asked = np.flatnonzero((moments + SEEN_EVERY_MS >= from_ms) & (moments <= to_ms))
        exact = moments.copy()
        for start in range(0, len(asked), _MAX_ASKED):
            some = asked[start : start + _MAX_ASKED]
            found = await self._latest.last_seen([ids[place] for place in some.tolist()])
            exact[some] = np.maximum(moments[some], [moment or 0 for moment in found])
        return exact

    async def last_seen(self, ids: Sequence[str]) -> dict[str, int]:
        """Returns when devices were last seen; those of which nothing is known are left out."""
        found = await self._latest.last_seen(ids)
        return {id_: moment for id_, moment in zip(ids, found, strict=True) if moment}

    async def know(self, ids: Sequence[str]) -> None:
        """Sees to it that the regions of devices are known, as far as they were told."""
        age = time.monotonic() - self._loaded_at
        if age < _UNKNOWN_SECONDS:
            return
        if age > _REGIONS_SECONDS or any(id_ not in self._regions for id_ in ids):
            self._regions = await self._readings.regions()
            self._loaded_at = time.monotonic()

    def region(self, device_id: str) -> str:
        """Returns a device's region, empty when it is not known."""
        return self._regions.get(device_id, "")
