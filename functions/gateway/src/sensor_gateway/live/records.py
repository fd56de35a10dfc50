"""The latest records as a poll reads them: of some devices, or of the whole fleet."""

import time
from collections.abc import Callable, Collection
from typing import Any, Final

from redis.asyncio import Redis

from sensor_shared.adapters.latest import PERIOD_MS, key
from sensor_shared.adapters.latest_record import DIGITS
from sensor_shared.contracts.readings.model import MAX_AHEAD_MS

_AT_A_TIME: Final = 2_000
"""Entries of one step through a hash: a millisecond of Redis, in which nobody else is served."""


class LatestRecords:
    """Reads the hashes of `sensor_shared.adapters.latest`.

    Args:
        redis: the client; its errors and timeouts are passed on.
        ttl_seconds: age at which a reading is no longer a latest one.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        ttl_seconds: float,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ):
        self._redis = redis
        self._ttl_ms = int(ttl_seconds * 1000)
        self._now_ms = now_ms

    async def of(self, device_ids: Collection[str]) -> dict[str, bytes]:
        """Returns the records of these devices, in one round trip.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        ids = list(device_ids)
        keys, oldest = self._places()
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in keys:
                pipe.hmget(name, ids)
            answers: list[list[bytes | None]] = await pipe.execute()
        return {
            id_: record
            for records in answers
            for id_, record in zip(ids, records, strict=True)
            if record and record[:DIGITS] > oldest
        }

    async def all(self) -> dict[str, bytes]:
        """Returns the records of all devices, in as many steps as Redis stays quick with.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        keys, oldest = self._places()
        found: dict[Any, Any] = {}
        for name in keys:
            cursor = -1
            while cursor:
                # Typed for clients that decode, and for the blocking one.
                answer: Any = self._redis.hscan(name, max(cursor, 0), count=_AT_A_TIME)
                cursor, some = await answer
                found.update(some)
        return {id_.decode(): record for id_, record in found.items() if record[:DIGITS] > oldest}

    def _places(self) -> tuple[list[str], bytes]:
        """The hashes, a later one after an earlier one, and the last moment that is too old."""
        now = self._now_ms()
        oldest = now - self._ttl_ms
        keys = [
            key(at * PERIOD_MS)
            for at in range(oldest // PERIOD_MS, (now + MAX_AHEAD_MS) // PERIOD_MS + 1)
        ]
        return keys, str(max(oldest, 0)).zfill(DIGITS).encode()
