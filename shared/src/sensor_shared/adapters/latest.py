"""The latest reading of each device in Redis: latest by event time, whatever order it comes in.

`device:{id}:latest` holds 13 digits, the reading's epoch milliseconds, and then its JSON
document as the gateway answers it. It expires by the reading's own time: once it is gone, every
older reading would be expired too, so that an old one can never take its place.
`devices:last_seen` is a sorted set of all devices by the epoch milliseconds of their newest
reading.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError

from sensor_shared.contracts.readings.document import documents

LAST_SEEN: Final = "devices:last_seen"
DIGITS: Final = 13

# KEYS: of the devices. ARGV: TTL in milliseconds, then a value for each key.
# One script for many devices: reading, comparing and writing are one step for everybody else.
_SET_NEWER: Final = """
local ttl = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local value = ARGV[i + 1]
  local moment = tonumber(string.sub(value, 1, 13))
  local held = tonumber(redis.call('GETRANGE', key, 0, 12))
  if held == nil or held < moment then
    redis.call('SET', key, value, 'PXAT', string.format('%.0f', moment + ttl))
  end
end
"""
_SHA: Final = hashlib.sha1(_SET_NEWER.encode(), usedforsecurity=False).hexdigest()
_MAX_DEVICES: Final = 2_000
"""Of one script, so that it never keeps Redis from others for more than a few milliseconds."""


def key(device_id: str) -> str:
    """Returns the key that holds the device's latest reading."""
    return f"device:{device_id}:latest"


class LatestReadings:
    """Reads and writes the latest readings.

    Args:
        redis: the client; its errors and timeouts are passed on.
        ttl_seconds: age at which a reading is forgotten.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        ttl_seconds: float = 300.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ):
        self._redis = redis
        self._ttl_ms = int(ttl_seconds * 1000)
        self._now_ms = now_ms

    async def update(
        self, batch: pa.RecordBatch, *, then: Callable[[Pipeline], None] = lambda _pipe: None
    ) -> None:
        """Offers readings (`readings.SCHEMA`); of each device the newest known one stays.

        Args:
            batch: the readings.
            then: adds commands that go to Redis with the last of the readings, after them.

        Raises:
            RedisError: when Redis did not take them all. To do it again changes nothing.
        """
        newest = newest_of_each(batch)
        last = max(newest.num_rows - 1, 0) // _MAX_DEVICES * _MAX_DEVICES
        for start in range(0, last, _MAX_DEVICES):
            await self._update(newest.slice(start, _MAX_DEVICES), lambda _pipe: None)
        await self._update(newest.slice(last), then)

    async def get(self, device_ids: Sequence[str]) -> list[bytes | None]:
        """Returns the JSON document of each device's latest reading, None where there is none.

        Raises:
            RedisError: when Redis does not answer.
        """
        if not device_ids:
            return []
        values: list[Any] = await self._redis.mget([key(id_) for id_ in device_ids])
        return [None if value is None else value[DIGITS:] for value in values]

    async def _update(self, batch: pa.RecordBatch, then: Callable[[Pipeline], None]) -> None:
        ids: list[str] = batch.column("device_id").to_pylist()
        moments: list[int] = batch.column("timestamp").cast(pa.int64()).to_pylist()
        # Those expired already are not even sent, but they were seen.
        expired_ms = self._now_ms() - self._ttl_ms
        offered = [
            (key(id_), b"%013d%b" % (moment, document))
            for id_, moment, document in zip(ids, moments, documents(batch), strict=True)
            if moment > expired_ms
        ]
        seen = dict(zip(ids, moments, strict=True))
        try:
            await self._send(offered, seen, then)
        except NoScriptError:  # Redis was started anew
            await self._redis.script_load(_SET_NEWER)
            await self._send(offered, seen, then)

    async def _send(
        self,
        offered: list[tuple[str, bytes]],
        seen: dict[str, int],
        then: Callable[[Pipeline], None],
    ) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            if seen:
                pipe.zadd(LAST_SEEN, seen, gt=True)
            if offered:
                keys, values = zip(*offered, strict=True)
                pipe.evalsha(_SHA, len(keys), *keys, self._ttl_ms, *values)
            then(pipe)
            if len(pipe):
                await pipe.execute()


def newest_of_each(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns only the newest reading of each device, in no particular order."""
    if batch.num_rows < 2:
        return batch
    moments: Any = batch.column("timestamp").cast(pa.int64()).to_numpy()
    order = np.argsort(-moments, kind="stable")
    devices = batch.column("device_id").dictionary_encode().indices.to_numpy()
    _, first = np.unique(devices[order], return_index=True)
    if len(first) == batch.num_rows:
        return batch
    return batch.take(pa.array(order[first]))
