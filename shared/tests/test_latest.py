"""Latest by event time, on the real Redis."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from sensor_shared.adapters.latest import (
    LAST_SEEN,
    PERIOD_MS,
    SEEN_EVERY_MS,
    LatestReadings,
    key,
    newest_of_each,
)
from sensor_shared.adapters.latest_record import decode, encode, moment
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.readings import SCHEMA, STATUSES, document

NOW_MS = time.time_ns() // 1_000_000


def batch_of(readings: Sequence[tuple[str, int]]) -> pa.RecordBatch:
    """Returns readings of (device, epoch ms); the temperature tells them apart."""
    rows = [
        {"device_id": id_, "timestamp": ms, "temperature": float(ms % 1_000), "status": "active"}
        for id_, ms in readings
    ]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


def documents(batch: pa.RecordBatch) -> list[bytes]:
    """Returns the readings as they are answered."""
    ids = batch["device_id"].to_pylist()
    return [
        document.encode(decode(*pair)) for pair in zip(ids, encode(batch).to_pylist(), strict=True)
    ]


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    client = connect(RedisSettings(host=redis_server.host, port=redis_server.port, timeout=20))
    yield client
    await client.aclose()


@pytest.fixture
def devices() -> list[str]:
    return [f"test-{uuid.uuid4().hex}" for _ in range(5)]


def later(redis: Redis) -> LatestReadings:
    """Keeps readings of when the tests began as long as they run."""
    return LatestReadings(redis, ttl_seconds=86_400, now_ms=lambda: NOW_MS)


async def now_of(redis: Redis) -> int:
    """Redis' time, epoch milliseconds."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


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
    assert await later(redis).last_seen(devices) == [NOW_MS + 59 * 7] * len(devices)


@pytest.mark.integration
async def test_of_two_periods_the_later_one_is_read_whatever_comes_last(
    redis: Redis, devices: list[str]
) -> None:
    border = (await now_of(redis) // PERIOD_MS + 1) * PERIOD_MS
    latest = LatestReadings(redis, now_ms=lambda: border)
    await latest.update(batch_of([(devices[0], border), (devices[1], border - 2)]))
    await latest.update(batch_of([(devices[0], border - 1), (devices[1], border - 1)]))
    expected = documents(batch_of([(devices[0], border), (devices[1], border - 1)]))
    assert await latest.get(devices[:2]) == expected
    assert await latest.last_seen([*devices[:2], "nobody"]) == [border, border - 1, None]


@pytest.mark.integration
async def test_a_record_is_gone_at_most_a_period_after_its_ttl_and_never_before(
    redis: Redis, devices: list[str]
) -> None:
    now_ms = await now_of(redis)
    latest = LatestReadings(redis, ttl_seconds=300, now_ms=lambda: now_ms)
    await latest.update(batch_of([(devices[0], now_ms - 100_000), (devices[1], now_ms - 300_000)]))
    expires = await redis.pexpiretime(key(now_ms - 100_000))
    assert now_ms + 200_000 <= expires <= now_ms + 200_000 + PERIOD_MS
    assert None not in await latest.get(devices[:1])
    assert await latest.get(devices[1:2]) == [None]
    assert await latest.last_seen(devices[1:2]) == [now_ms - 300_000]


@pytest.mark.integration
async def test_an_older_reading_takes_no_place_of_one_that_has_expired(
    redis: Redis, devices: list[str]
) -> None:
    """It may be kept until its period is over, but is too old to be read by then."""
    now_ms = await now_of(redis)
    latest = LatestReadings(redis, ttl_seconds=1, now_ms=lambda: now_ms + 2 * PERIOD_MS)
    await latest.update(batch_of([(devices[0], now_ms)]))
    assert await latest.get(devices[:1]) == [None]


@pytest.mark.integration
async def test_a_late_reading_that_is_newer_than_what_is_kept_is_kept_too(
    redis: Redis, devices: list[str]
) -> None:
    """It is too old to be read, and hides the older one, which the period still holds."""
    start = await now_of(redis) // PERIOD_MS * PERIOD_MS
    clock = [start + 30_000]
    latest = LatestReadings(redis, ttl_seconds=300, now_ms=lambda: clock[0])
    await latest.update(batch_of([(devices[0], start + 30_000)]))
    clock[0] = start + PERIOD_MS + 60_000
    assert await latest.get(devices[:1]) == [None]
    await latest.update(batch_of([(devices[0], start + 300_000)]))
    assert await latest.last_seen(devices[:1]) == [start + 300_000]
    record = await redis.hget(key(start), devices[0])
    assert isinstance(record, bytes)
    assert moment(record) == start + 300_000


@pytest.mark.integration
async def test_when_a_device_was_seen_outlives_its_latest_reading(
    redis: Redis, devices: list[str]
) -> None:
    now_ms = await now_of(redis)
    latest = LatestReadings(redis, now_ms=lambda: now_ms)
    for moment_ms in range(now_ms - 2 * SEEN_EVERY_MS, now_ms, 1_000):
        await latest.update(batch_of([(devices[0], moment_ms)]))
    assert await latest.last_seen(devices[:1]) == [now_ms - 1_000]
    await redis.delete(key(now_ms), key(now_ms - 2 * SEEN_EVERY_MS))
    assert await latest.last_seen(devices[:1]) == [now_ms - SEEN_EVERY_MS]
    assert await redis.zscore(LAST_SEEN, devices[0]) == now_ms - SEEN_EVERY_MS


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


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.fixed_dictionaries(
    {
        "device_id": st.sampled_from("abc"),
        "timestamp": st.integers(1_000_000_000_000, 4_102_444_800_000),
        "temperature": NUMBERS,
        "humidity": NUMBERS,
        "pressure": NUMBERS,
        "status": st.sampled_from(STATUSES),
        "latitude": NUMBERS,
        "longitude": NUMBERS,
        "region": st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
    }
)


@given(st.lists(ROWS, max_size=6))
def test_a_document_says_what_the_reading_says(rows: list[dict[str, Any]]) -> None:
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    assert [moment(record) for record in encode(batch).to_pylist()] == [
        row["timestamp"] for row in rows
    ]
    for found, row in zip(documents(batch), rows, strict=True):
        place = {name: row.pop(name) for name in ("latitude", "longitude", "region")}
        ms = row["timestamp"]
        text = rfc3339(datetime.fromtimestamp(ms // 1000, UTC)).replace(
            ".000Z", f".{ms % 1000:03}Z"
        )
        assert json.loads(found) == {**row, "timestamp": text, "location": place}
