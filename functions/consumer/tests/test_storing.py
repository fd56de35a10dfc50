"""What is stored, on the real ClickHouse and Redis."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from sensor_consumer.settings import ConsumerSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.latest import LAST_SEEN, LatestReadings
from sensor_shared.contracts.events import ARROW_STREAM, PLAIN_KAFKA_RECORD, new_id, rfc3339

from .conftest import Deployed, arrow, batch_of, deployed, now_ms, reading

pytestmark = pytest.mark.integration


async def count(database: Database, table: str = "readings", final: str = "FINAL") -> int:
    ((rows,),) = await database.rows(f"SELECT count() FROM {table} {final}")  # noqa: S608
    return int(rows)


async def test_a_single_reading_is_stored_exactly(
    consumer: Deployed, database: Database, device: str
) -> None:
    moment = now_ms()
    answer = await consumer.send(reading(device, moment, temperature=-4.0009, humidity=None))
    assert answer.status_code == 202
    (row,) = await database.rows(
        "SELECT device_id, toUnixTimestamp64Milli(timestamp), temperature, humidity, pressure, "
        "status FROM readings FINAL"
    )
    assert row == (
        device,
        moment,
        Decimal("-4.001"),  # rounded, not cut off
        None,
        Decimal("1010.610"),
        "active",
    )


@pytest.mark.parametrize("form", ["array", "arrow", "plain record"])
async def test_every_form_of_readings_is_stored(
    consumer: Deployed, database: Database, device: str, form: str
) -> None:
    start = now_ms() - 1_000
    readings = [reading(device, start + i, temperature=i / 1000) for i in range(60)]
    if form == "array":
        answer = await consumer.send(readings)
    elif form == "arrow":
        answer = await consumer.send(batch_of(readings))
    else:
        readings = [{**readings[0], "timestamp": "2026-11-23T19:32:18.979923184Z"}]
        readings[0]["timestamp"] = rfc3339(datetime.now(UTC)).replace("Z", "923184Z")
        answer = await consumer.post(
            json.dumps(readings[0]).encode(), content_type=None, kind=PLAIN_KAFKA_RECORD
        )
    assert answer.status_code == 202
    rows = await database.rows("SELECT temperature FROM readings FINAL ORDER BY timestamp")
    assert rows == [(Decimal(i) / 1000,) for i in range(len(readings))]


async def test_what_breaks_a_rule_is_kept_as_it_came_and_its_neighbours_are_stored(
    consumer: Deployed, database: Database, device: str
) -> None:
    event_id = new_id()
    bad = reading(device, temperature="hot")
    answer = await consumer.send([reading(device), bad, 7], event_id=event_id)
    assert answer.status_code == 202
    assert await count(database) == 1
    rows = await database.rows(
        "SELECT source, event_id, position, reason, device_id, raw FROM rejects ORDER BY position"
    )
    assert rows == [
        ("/tests", event_id, 1, "invalid_temperature", device, json.dumps(bad)),
        ("/tests", event_id, 2, "not_an_object", "", "7"),
    ]


async def test_bytes_that_are_nothing_are_kept_as_they_are(
    consumer: Deployed, database: Database
) -> None:
    data = bytes(range(256))
    assert (await consumer.post(data, content_type="application/json")).status_code == 202
    (row,) = await database.rows("SELECT reason, hex(raw) FROM rejects")
    assert row == ("invalid_json", data.hex().upper())


async def test_an_event_of_another_type_is_kept_and_answered_with_success(
    consumer: Deployed, database: Database, device: str
) -> None:
    answer = await consumer.send(reading(device), kind="com.example.weather.v9")
    assert answer.status_code == 202
    assert await database.rows("SELECT reason FROM rejects") == [("unsupported_type",)]
    assert await count(database) == 0


async def test_a_repeated_event_changes_not_even_raw_rows(
    settings: ConsumerSettings, database: Database, device: str
) -> None:
    """Neither in the process that stored it, nor in another that only shares Redis with it."""
    data, event_id = batch_of([reading(device)]), new_id()
    async with deployed(settings) as first, deployed(settings) as second:
        for consumer in (first, first, second, second):
            assert (await consumer.send(data, event_id=event_id)).status_code == 202
    assert await count(database, final="") == 1


async def test_a_repeated_event_counts_once_when_nobody_remembers_it(
    settings: ConsumerSettings, database: Database, device: str, redis: Redis
) -> None:
    data, event_id = batch_of([reading(device)]), new_id()
    for _ in range(2):
        async with deployed(settings) as consumer:
            assert (await consumer.send(data, event_id=event_id)).status_code == 202
        await redis.flushdb()
    assert await count(database, final="") == 1  # ClickHouse knows the event's token


async def test_the_same_event_twice_at_once_is_one_event(
    consumer: Deployed, database: Database, device: str
) -> None:
    data, event_id = reading(device), new_id()
    answers = await asyncio.gather(*(consumer.send(data, event_id=event_id) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {202}
    assert await count(database, final="") == 1


async def test_the_same_moment_of_a_device_in_two_events_counts_once(
    consumer: Deployed, database: Database, device: str
) -> None:
    data = reading(device, now_ms())
    await consumer.send([data, reading(device, data["timestamp"] - 1)])
    await consumer.send(data)
    assert await count(database) == 2


async def test_a_late_reading_is_stored_and_never_becomes_the_latest(
    consumer: Deployed, database: Database, latest: LatestReadings, device: str, redis: Redis
) -> None:
    moment = now_ms()
    await consumer.send(reading(device, moment, temperature=21.5))
    await consumer.send(reading(device, moment - 60_000, temperature=19.5))
    assert await count(database) == 2
    (document,) = await latest.get([device])
    assert document is not None
    assert json.loads(document) == {
        "device_id": device,
        "timestamp": rfc3339(datetime.fromtimestamp(moment / 1000, UTC)),
        "temperature": 21.5,
        "humidity": 55.04,
        "pressure": 1010.61,
        "status": "active",
        "location": {"latitude": 40.106052, "longitude": 27.533442, "region": "west"},
    }
    assert await redis.zscore(LAST_SEEN, device) == moment


async def test_a_device_is_told_once_and_again_when_it_moves(
    consumer: Deployed, database: Database
) -> None:
    place = {"latitude": 1.5, "longitude": 2.5, "region": "east"}
    sql = "SELECT device_type, region, latitude, longitude FROM devices"
    device, moment = "weather_station_000001", now_ms()
    for second in range(3):
        await consumer.send(reading(device, moment + second))
    west = ("weather_station", "west", 40.106052, 27.533442)
    assert await database.rows(sql) == [west]
    await consumer.send(reading(device, moment + 3, location=place))
    assert await database.rows(f"{sql} FINAL") == [("weather_station", "east", 1.5, 2.5)]


async def test_fifty_events_at_once_make_few_inserts_and_each_is_answered_with_its_rows_there(
    consumer: Deployed, database: Database, device: str
) -> None:
    start = now_ms() - 100
    inserts = await consumer.metric('db_insert_latency_ms_count{table="readings"}')

    async def send(i: int) -> int:
        answer = await consumer.send(reading(device, start + i))
        assert answer.status_code == 202
        ((there,),) = await database.rows(
            "SELECT count() FROM readings WHERE timestamp = fromUnixTimestamp64Milli({ms:Int64})",
            ms=start + i,
        )
        return int(there)

    assert await asyncio.gather(*(send(i) for i in range(50))) == [1] * 50
    assert await consumer.metric('db_insert_latency_ms_count{table="readings"}') - inserts <= 5


async def test_latencies_are_measured_from_the_readings_own_time_but_not_for_history(
    consumer: Deployed, device: str
) -> None:
    names = ("delivered", "stored", "visible")
    lines = [
        f"sensor_{name}_latency_ms_count" + ('{function="consumer"}' if name == names[0] else "")
        for name in names
    ]
    before = [await consumer.metric(line) for line in lines]
    stored = await consumer.metric("sensor_consumer_readings_stored_total")
    moment = now_ms()
    readings = [reading(device, moment - age) for age in (0, 1_000, 86_400_000)]
    assert (await consumer.send(readings)).status_code == 202
    after = [await consumer.metric(line) for line in lines]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 2, 2]
    assert await consumer.metric("sensor_consumer_readings_stored_total") - stored == 3


async def test_unknown_fields_are_counted_and_ignored(
    consumer: Deployed, database: Database, device: str
) -> None:
    before = await consumer.metric("sensor_consumer_unknown_fields_total")
    await consumer.send(reading(device, colour="red"))
    assert await count(database) == 1
    assert await consumer.metric("sensor_consumer_unknown_fields_total") - before == 1


async def test_a_truncated_arrow_stream_is_a_reject(consumer: Deployed, database: Database) -> None:
    data = arrow(batch_of([reading("d")]))[:-40]
    assert (await consumer.post(data, content_type=ARROW_STREAM)).status_code == 202
    assert await database.rows(
        "SELECT reason, raw = unhex({raw:String}) FROM rejects", raw=data.hex()
    ) == [("invalid_arrow", 1)]
