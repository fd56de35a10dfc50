"""The latest reading of each device in Redis: latest by event time, whatever order it comes in.

`devices:latest:{n}` is a hash of device ids and their records (`latest_record`) with a moment in
the n-th period since the epoch. A later period is later by event time, so only records of the same
one are compared. A period's hash expires when all that may be in it is older than the TTL, by the
readings' own time: an old reading can never take the place of a newer one that has gone. One hash
for many devices costs Redis a third of what a key for each of them does: docs/decisions/0009.

`devices:last_seen` is a sorted set of all devices by the epoch milliseconds of a reading that is at
most `SEEN_EVERY_MS` older than the newest one. It outlives the hashes.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from pydantic import Field
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError

from sensor_shared.adapters import latest_record
from sensor_shared.adapters.latest_record import moment
from sensor_shared.adapters.redis import Encoded
from sensor_shared.adapters.redis_arguments import encoded
from sensor_shared.contracts.readings.document import encode
from sensor_shared.contracts.readings.model import MAX_AHEAD_MS
from sensor_shared.contracts.readings.numbers import DeviceNumbers, Remembered
from sensor_shared.runtime.settings import Section

LAST_SEEN: Final = "devices:last_seen"
SEEN_EVERY_MS: Final = 10_000
PERIOD_MS: Final = 600_000

# KEYS: the hash. ARGV: when it expires, then the devices, then as many records.
# Replicas get the records, the append-only file does not: it would be little else, and the next
# readings bring them back. Reading, comparing and writing are one step for everybody else. Only the
# digits are compared: a whole record is no text, and does not sort by its moment everywhere.
_SET_NEWER: Final = """
redis.set_repl(redis.REPL_REPLICA)
local count = (#ARGV - 1) / 2
local held = redis.call('HMGET', KEYS[1], unpack(ARGV, 2, count + 1))
local newer, size = {}, 0
for i = 1, count do
  local record = ARGV[count + 1 + i]
  if not held[i] or string.sub(held[i], 1, 13) < string.sub(record, 1, 13) then
    newer[size + 1], newer[size + 2] = ARGV[i + 1], record
    size = size + 2
  end
end
if size > 0 then
  redis.call('HSET', KEYS[1], unpack(newer))
  redis.call('PEXPIREAT', KEYS[1], ARGV[1])
end
"""
_SHA: Final = hashlib.sha1(_SET_NEWER.encode(), usedforsecurity=False).hexdigest()
_MAX_DEVICES: Final = 2_000
"""Of one script, so that it never keeps Redis from others for more than a few milliseconds."""
_NEVER: Final = np.array(0, np.int64)

_Part = tuple[int, Encoded]
"""A period, and devices with their records in it: first the ones, then the others."""


def key(moment_ms: int) -> str:
    """Returns the key of the hash that holds readings of a moment."""
    return _key(moment_ms // PERIOD_MS)


def _key(period: int) -> str:
    return f"devices:latest:{period}"


class LatestSettings(Section):
    """Section LATEST, the same for whoever writes and whoever reads."""

    elsewhere: ClassVar[frozenset[str]] = frozenset({"timeout", "pause"})
    """Of the consumer, which writes them."""
    ttl_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Age at which a reading is no longer a latest one."""


class LatestReadings:
    """Reads and writes the latest readings.

    Args:
        redis: the client; its errors and timeouts are passed on.
        ttl_seconds: age at which a reading is no longer a latest one; Redis forgets it within
            `PERIOD_MS` more. Whoever reads looks back as far as that.
        numbers: of the devices; by default of its own.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        ttl_seconds: float = 300.0,
        numbers: DeviceNumbers | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ):
        self._redis = redis
        self._ttl_ms = int(ttl_seconds * 1000)
        self._now_ms = now_ms
        of_devices = DeviceNumbers() if numbers is None else numbers
        self._told = Remembered(of_devices, _NEVER)

    async def update(self, batch: pa.RecordBatch) -> None:
        """Offers readings (`readings.SCHEMA`); of each device the newest known one stays.

        Raises:
            RedisError: when Redis did not take them all. To do it again changes nothing.
        """
        newest = newest_of_each(batch)
        moments: Any = newest.column("timestamp").cast(pa.int64()).to_numpy()
        seen = self._worth_telling(newest.column("device_id"), moments)
        # As long as a hash may hold an older reading of the device, the newer one belongs there.
        alive = self._expires(moments // PERIOD_MS) > self._now_ms()
        if not alive.all():
            newest, moments = newest.filter(pa.array(alive)), moments[alive]
        parts = list(_parts(newest, moments))
        for part in parts[:-1]:
            await self._send(part, {})
        await self._send(parts[-1] if parts else None, seen)
        if seen:
            ids = pa.array(list(seen), pa.string())
            self._told.remember(ids, np.fromiter(seen.values(), np.int64, len(seen)))

    async def get(self, device_ids: Sequence[str]) -> list[bytes | None]:
        """Returns the JSON document of each device's latest reading, None where there is none.

        Raises:
            RedisError: when Redis does not answer.
        """
        return [
            None if record is None else encode(latest_record.decode(id_, record))
            for id_, record in zip(device_ids, await self._records(device_ids), strict=True)
        ]

    async def last_seen(self, device_ids: Sequence[str]) -> list[int | None]:
        """Returns the moment of each device's newest reading, epoch milliseconds.

        It is exact for those that have a latest reading, and up to `SEEN_EVERY_MS` too early for
        the others; None where nothing was ever seen.

        Raises:
            RedisError: when Redis does not answer.
        """
        return [seen for seen, _ in await self.standings(device_ids)]

    async def standings(self, device_ids: Sequence[str]) -> list[tuple[int | None, str | None]]:
        """Returns when each device was last seen, as `last_seen`, and its latest status.

        The status is None where there is no latest reading. It is one round trip.

        Raises:
            RedisError: when Redis does not answer.
        """
        if not device_ids:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            self.ask(pipe, device_ids)
            pipe.zmscore(LAST_SEEN, list(device_ids))
            *answers, scores = await pipe.execute()
        return [
            (int(score) if score else None, None)
            if record is None
            else (max(moment(record), int(score or 0)), latest_record.status(record))
            for record, score in zip(self.newest(answers), scores, strict=True)
        ]

    def ask(self, pipe: Pipeline, device_ids: Sequence[str]) -> int:
        """Adds to a pipeline the commands whose answers `newest` reads; returns their number."""
        now = self._now_ms()
        periods = range((now - self._ttl_ms) // PERIOD_MS, (now + MAX_AHEAD_MS) // PERIOD_MS + 1)
        for period in reversed(periods):
            pipe.hmget(_key(period), list(device_ids))
        return len(periods)

    def newest(self, answers: Sequence[Sequence[bytes | None]]) -> list[bytes | None]:
        """Returns the record of each device's latest reading, None where there is none.

        Args:
            answers: to what `ask` added, in its order.
        """
        oldest = self._now_ms() - self._ttl_ms
        return [
            next((record for record in records if record and moment(record) > oldest), None)
            for records in zip(*answers, strict=True)
        ]

    async def _records(self, device_ids: Sequence[str]) -> list[bytes | None]:
        if not device_ids:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            self.ask(pipe, device_ids)
            return self.newest(await pipe.execute())

    def _expires(self, period: Any) -> Any:
        """When the hash of a period, or of each of an array of them, expires."""
        return (period + 1) * PERIOD_MS + self._ttl_ms

    def _worth_telling(self, ids: pa.StringArray, moments: Any) -> dict[str, int]:
        """Returns the devices whose last moment in the sorted set has grown old."""
        old = np.flatnonzero(moments - self._told.of(ids) >= SEEN_EVERY_MS)
        return dict(zip(ids.take(pa.array(old)).to_pylist(), moments[old].tolist(), strict=True))

    async def _send(self, part: _Part | None, seen: Mapping[str, int]) -> None:
        try:
            await self._pipe(part, seen)
        except NoScriptError:  # Redis was started anew, perhaps without its data
            self._told.forget()
            await self._redis.script_load(_SET_NEWER)
            await self._pipe(part, seen)

    async def _pipe(self, part: _Part | None, seen: Mapping[str, int]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            if part is not None:
                period, devices = part
                pipe.execute_command(
                    "EVALSHA", _SHA, 1, _key(period), self._expires(period), devices
                )
            if seen:
                pipe.zadd(LAST_SEEN, seen, gt=True)
            if len(pipe):
                await pipe.execute()


def _parts(batch: pa.RecordBatch, moments: Any) -> Iterator[_Part]:
    periods = moments // PERIOD_MS
    found = np.unique(periods).tolist()
    for period in found:
        of_period = batch if len(found) == 1 else batch.filter(pa.array(periods == period))
        for start in range(0, of_period.num_rows, _MAX_DEVICES):
            some = of_period.slice(start, _MAX_DEVICES)
            yield period, encoded(some.column("device_id"), latest_record.encode(some))


def newest_of_each(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns only the newest reading of each device, in no particular order."""
    if batch.num_rows < 2:
        return batch
    coded = batch.column("device_id").dictionary_encode()
    if len(coded.dictionary) == batch.num_rows:
        return batch
    moments: Any = batch.column("timestamp").cast(pa.int64()).to_numpy()
    order = np.argsort(-moments, kind="stable")
    _, first = np.unique(coded.indices.to_numpy()[order], return_index=True)
    return batch.take(pa.array(order[first]))
