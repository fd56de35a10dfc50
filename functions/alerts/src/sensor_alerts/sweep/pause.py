"""When nearly nobody was heard: the ingest was down or far behind, or nobody looked."""

import itertools
from collections.abc import Awaitable
from typing import Any, Final, cast

from redis.asyncio import Redis

from sensor_alerts.domain.offline import Pause
from sensor_alerts.sweep.fleet import SEED_HOURS, Fleet
from sensor_alerts.sweep.readings import StoredReadings

_LOOK_BACK_MS: Final = 600_000
"""How far stored readings are asked for a pause that Redis has lost."""


class Pauses:
    """Remembers the last pause of the whole fleet in Redis; whoever sweeps keeps it.

    Methods raise `RedisError` and `DatabaseAwayError` when these are away.

    Args:
        redis: shared by all replicas.
        fleet: knows when devices were last seen.
        readings: know what Redis has lost.
        prefix: of this service's own keys.
    """

    def __init__(
        self, redis: Redis, fleet: Fleet, readings: StoredReadings, prefix: str = "alerts"
    ):
        self._redis = redis
        self._fleet = fleet
        self._readings = readings
        self._key = f"{prefix}:fleet:heard"

    async def last(self, now_ms: int, forgotten_ms: int, *, least: int, devices: int) -> Pause:
        """Notes that the fleet is heard, if it is, and returns its last pause that is over.

        While readings are far behind, as when a backlog is drained, the pause goes on.

        Args:
            now_ms: the time, epoch milliseconds.
            forgotten_ms: devices that were last seen before do not count.
            least: milliseconds; what is shorter is no pause.
            devices: fewer of a large fleet are as good as nobody.
        """
        known = await cast(
            "Awaitable[list[bytes | None]]",
            self._redis.hmget(self._key, ["heard", "begin", "end"]),
        )
        newest = min(await self._fleet.heard(forgotten_ms, devices) or 0, now_ms)
        current = newest > 0 and now_ms - newest <= least
        heard, pause = int(known[0] or 0), Pause(int(known[1] or 0), int(known[2] or 0))
        if not known[0]:
            pause = await self._stored(now_ms, least)
        elif current and newest - heard > least:
            pause = Pause(heard, newest)
        if current or (newest and not heard):
            fields: dict[Any, Any] = {
                "heard": max(newest, heard),
                "begin": pause.begin_ms,
                "end": pause.end_ms,
            }
            await self._redis.hset(self._key, mapping=fields)
        return pause

    async def _stored(self, now_ms: int, least: int) -> Pause:
        seconds = await self._readings.seconds(now_ms - _LOOK_BACK_MS, now_ms)
        last = Pause(0, 0)
        if seconds:
            # Who was last seen before them is not back from a pause that may have lasted longer.
            seen = await self._readings.last_seen(SEED_HOURS)
            before = max((moment for moment in seen.values() if moment < seconds[0]), default=None)
            seconds = seconds if before is None else [before, *seconds]
        for begin, end in itertools.pairwise(seconds):
            if end - begin > least:
                last = Pause(begin, end)
        return last
