"""The same event again, on the real parts: raw rows, rejects and latest values stay as they are."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from sensor_consumer.cache import Cache
from sensor_consumer.settings import ConsumerSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.contracts.events import new_id
from sensor_shared.testing.parts import Lines

from .conftest import Deployed, batch_of, deployed, now_ms, reading, until

pytestmark = pytest.mark.integration


async def raw(database: Database) -> tuple[int, int]:
    """Returns the raw rows of readings and of rejects, merged or not."""
    ((readings,),) = await database.rows("SELECT count() FROM readings")
    ((rejects,),) = await database.rows("SELECT count() FROM rejects")
    return readings, rejects


def batch(device: str, readings: int) -> list[dict[str, Any]]:
    """Returns readings of one device, and one that breaks a rule."""
    moment = now_ms()
    good = [reading(device, moment - number) for number in range(readings)]
    return [*good, reading(device, moment, humidity=120)]


async def sent(consumer: Deployed, event: tuple[list[dict[str, Any]], str], sent_ms: int) -> None:
    """Sends an event, data and id, as one of that moment; it is taken."""
    data, event_id = event
    assert (await consumer.send(data, event_id=event_id, sent_ms=sent_ms)).status_code == 202


async def test_a_consumer_that_died_before_it_could_note_what_it_stored_doubles_no_raw_row(
    settings: ConsumerSettings, database: Database, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [(batch(f"{device}-{number}", 3), new_id()) for number in range(4)]

    async def never(*_arguments: Any) -> None:
        return

    with monkeypatch.context() as patch:
        patch.setattr(Cache, "remember", never)
        async with deployed(settings) as first:
            for data, event_id in events:
                assert (await first.send(data, event_id=event_id)).status_code == 202
    assert await raw(database) == (12, 4)
    async with deployed(settings) as second:
        for data, event_id in [*events, (batch(f"{device}-new", 3), new_id())]:
            assert (await second.send(data, event_id=event_id)).status_code == 202
    assert await raw(database) == (15, 5)


async def test_of_two_events_that_were_given_one_id_none_is_lost(
    consumer: Deployed, database: Database, device: str
) -> None:
    moment = now_ms()
    for number in (1, 2, 1):
        data = reading(f"{device}-{number}", moment)
        assert (await consumer.send(data, event_id="the same")).status_code == 202
    assert await raw(database) == (2, 0)


async def test_events_whose_past_a_redis_has_lost_double_no_raw_row(
    settings: ConsumerSettings, database: Database, redis: Redis, device: str
) -> None:
    """Stored together and coming again one by one, so that no insert is like the one before."""
    events = [(batch(f"{device}-{number}", 3), new_id()) for number in range(4)]
    sent_ms = now_ms() - 1_000
    async with deployed(settings) as first:
        await asyncio.gather(*(sent(first, event, sent_ms) for event in events))
    assert await raw(database) == (12, 4)
    await redis.flushdb()
    async with deployed(settings) as second:
        for event in events:
            await sent(second, event, sent_ms)
    assert await raw(database) == (12, 4)


async def test_events_that_come_again_after_they_were_forgotten_double_no_raw_row(
    settings: ConsumerSettings, database: Database, redis: Redis, device: str
) -> None:
    """As after a night without power: offsets were not committed, and Redis has let go of them."""
    sent_ms = now_ms() - (settings.store.remember_seconds + 1) * 1_000
    events = [(batch(f"{device}-{number}", 3), new_id()) for number in range(4)]
    async with deployed(settings) as first:
        await asyncio.gather(*(sent(first, event, sent_ms) for event in events))
    for name in await redis.keys("{consumer}:stored:*"):
        await redis.delete(name)
    async with deployed(settings) as second:
        for event in events:
            await sent(second, event, sent_ms)
    assert await raw(database) == (12, 4)


async def test_a_device_whose_readings_alone_were_stored_is_told_when_they_come_again(
    settings: ConsumerSettings, database: Database, device: str
) -> None:
    data, event_id = [reading(device)], new_id()
    async with deployed(settings) as first:
        assert (await first.send(data, event_id=event_id)).status_code == 202
    await database.rows("TRUNCATE TABLE devices")
    async with deployed(settings) as second:
        answer = await second.send(data, event_id=event_id, replayed=True)
        assert answer.status_code == 202
    assert await database.rows("SELECT device_id FROM devices FINAL") == [(device,)]
    assert await raw(database) == (1, 0)


async def test_a_replayed_event_adds_only_what_is_missing_and_shows_it(
    consumer: Deployed, database: Database, latest: LatestReadings, device: str
) -> None:
    data, event_id = batch(device, 700), new_id()
    assert (await consumer.send(data[:300], event_id=new_id())).status_code == 202
    for _ in range(2):
        answer = await consumer.send(data, event_id=event_id, replayed=True)
        assert answer.status_code == 202
        assert await raw(database) == (700, 1)
    (shown,) = await latest.get([device])
    assert shown is not None


async def test_a_replayed_arrow_batch_brings_back_what_was_deleted(
    consumer: Deployed, database: Database, device: str
) -> None:
    moment = now_ms()
    data, event_id = batch_of([reading(device, moment - n) for n in range(10)]), new_id()
    assert (await consumer.send(data, event_id=event_id)).status_code == 202
    await database.rows("DELETE FROM readings WHERE toUnixTimestamp64Milli(timestamp) % 2 = 0")
    (left, _) = await raw(database)
    assert left < 10
    assert (await consumer.send(data, event_id=event_id, replayed=True)).status_code == 202
    assert await raw(database) == (10, 0)


async def test_without_redis_an_event_whose_insert_had_no_answer_is_stored_once(
    consumer: Deployed, lines: Lines, database: Database, device: str
) -> None:
    await until(consumer.function.ready, "readiness")
    await lines.redis.cut()
    data, event_id = batch(device, 5), new_id()
    await lines.clickhouse.cut()
    assert (await consumer.send(data, event_id=event_id)).status_code == 503
    await lines.clickhouse.mend()

    async def accepted() -> bool:
        return (await consumer.send(data, event_id=event_id)).status_code == 202

    await until(accepted, "success after ClickHouse came back")
    assert (await consumer.send(data, event_id=event_id)).status_code == 202
    assert await raw(database) == (5, 1)
