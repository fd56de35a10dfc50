"""Latest by event time, on the real Redis."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from sensor_shared.adapters.latest import LAST_SEEN, LatestReadings, key, newest_of_each
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.readings import SCHEMA
from sensor_shared.contracts.readings.document import documents

NOW_MS = 1_790_000_000_123


def batch_of(readings: Sequence[tuple[str, int]]) -> pa.RecordBatch:
    """Returns readings of (device, epoch ms); the temperature tells them apart."""
    rows = [
        {"device_id": id_, "timestamp": ms, "temperature": float(ms % 1_000), "status": "active"}
        for id_, ms in readings
    ]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    client = connect(RedisSettings(host=redis_server.host, port=redis_server.port, timeout=20))
    yield client
    await client.aclose()


@pytest.fixture
def devices() -> list[str]:
    return [f"test-{uuid.uuid4().hex}" for _ in range(5)]


def later(redis: Redis, seconds: float = 300.0) -> LatestReadings:
    """Keeps readings although they are from a fixed moment: Redis' clock decides on expiry."""
    return LatestReadings(redis, ttl_seconds=10 * 365 * 86_400 + seconds, now_ms=lambda: NOW_MS)


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(5))
async def test_the_newest_reading_wins_whatever_the_order_and_however_many_write(
    redis: Redis, devices: list[str], seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311
    readings = [(device, NOW_MS + i * 7) for device in devices for i in range(60)]
    readings += dice.choices(readings, k=60)  # some come twice
    dice.shuffle(readings)
    batches = [batch_of(readings[i : i + 20]) for i in range(0, len(readings), 20)]

    async def write(share: list[pa.RecordBatch]) -> None:
        writer = later(redis)
        for batch in share:
            await writer.update(batch)

    await asyncio.gather(*(write(batches[i::4]) for i in range(4)))
    found = await later(redis).get(devices)
    newest = documents(batch_of([(device, NOW_MS + 59 * 7) for device in devices]))
    assert found == newest
    assert await redis.zmscore(LAST_SEEN, devices) == [NOW_MS + 59 * 7] * len(devices)


@pytest.mark.integration
async def test_a_value_is_thirteen_digits_and_the_document(
    redis: Redis, devices: list[str]
) -> None:
    batch = batch_of([(devices[0], NOW_MS)])
    await later(redis).update(batch)
    assert await redis.get(key(devices[0])) == b"1790000000123" + documents(batch)[0]


@pytest.mark.integration
async def test_a_reading_expires_by_its_own_time_so_no_older_one_can_replace_it(
    redis: Redis, devices: list[str]
) -> None:
    seconds, micros = await redis.time()
    now_ms = seconds * 1000 + micros // 1000
    latest = LatestReadings(redis, ttl_seconds=300, now_ms=lambda: now_ms)
    await latest.update(batch_of([(devices[0], now_ms - 100_000), (devices[1], now_ms - 300_000)]))
    assert await redis.pexpiretime(key(devices[0])) == now_ms + 200_000
    assert await latest.get(devices[1:2]) == [None]
    assert await redis.zscore(LAST_SEEN, devices[1]) == now_ms - 300_000


@pytest.mark.integration
async def test_it_writes_on_after_redis_lost_its_scripts(redis: Redis, devices: list[str]) -> None:
    latest = later(redis)
    await latest.update(batch_of([(devices[0], NOW_MS)]))
    await redis.script_flush()
    await latest.update(batch_of([(devices[0], NOW_MS + 1)]))
    assert await latest.get(devices[:1]) == documents(batch_of([(devices[0], NOW_MS + 1)]))


@pytest.mark.integration
async def test_a_large_batch_is_written_whole(redis: Redis, devices: list[str]) -> None:
    ids = [f"{devices[0]}-{i}" for i in range(4_500)]
    await later(redis).update(batch_of([(id_, NOW_MS) for id_ in ids]))
    assert None not in await later(redis).get(ids)


@pytest.mark.integration
async def test_nothing_asked_is_nothing_answered(redis: Redis) -> None:
    assert await later(redis).get([]) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(NOW_MS, NOW_MS + 9)), max_size=20))
def test_of_a_batch_the_newest_reading_of_each_device_is_left(
    readings: list[tuple[str, int]],
) -> None:
    newest = newest_of_each(batch_of(readings))
    found = dict(
        zip(
            newest["device_id"].to_pylist(),
            newest["timestamp"].cast(pa.int64()).to_pylist(),
            strict=True,
        )
    )
    assert len(found) == newest.num_rows
    assert found == {id_: max(ms for other, ms in readings if other == id_) for id_, _ in readings}


@given(
    st.integers(0, 4_102_444_800_000),
    st.floats(-1e6, 1e6),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_a_document_says_what_the_reading_says(
    moment: int, value: float, region: str | None
) -> None:
    row = {"device_id": "d", "timestamp": moment, "humidity": value, "status": "error"}
    (document,) = documents(pa.RecordBatch.from_pylist([row | {"region": region}], SCHEMA))
    assert json.loads(document) == {
        "device_id": "d",
        "timestamp": rfc3339(datetime.fromtimestamp(moment // 1000, UTC)).replace(
            ".000Z", f".{moment % 1000:03}Z"
        ),
        "temperature": None,
        "humidity": value,
        "pressure": None,
        "status": "error",
        "location": {"latitude": None, "longitude": None, "region": region},
    }
