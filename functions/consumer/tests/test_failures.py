"""Parts that are away: nothing is lost, nothing is answered too early."""

import asyncio
from typing import Any

import httpx
import pytest

from sensor_consumer.settings import ConsumerSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.contracts import alerts
from sensor_shared.contracts.events import Event, new_id
from sensor_shared.testing.parts import Lines

from .conftest import TOKEN, AlertServer, Deployed, deployed, now_ms, published, reading, until

pytestmark = pytest.mark.integration


async def rows_of(database: Database) -> list[tuple[Any, ...]]:
    return await database.rows("SELECT device_id FROM readings")


async def test_without_redis_readings_are_stored(
    consumer: Deployed, lines: Lines, database: Database, latest: LatestReadings, device: str
) -> None:
    await lines.redis.cut()
    failures = await consumer.metric("sensor_consumer_latest_failed_total")
    assert (await consumer.send(reading(device))).status_code == 202
    assert await rows_of(database) == [(device,)]
    assert await consumer.metric("sensor_consumer_latest_failed_total") > failures
    await lines.redis.mend()

    async def visible() -> bool:
        assert (await consumer.send(reading(device))).status_code == 202
        return await latest.get([device]) != [None]

    await until(visible, "the latest value after Redis came back")


async def test_without_clickhouse_nothing_is_acknowledged_and_it_recovers(
    consumer: Deployed, lines: Lines, database: Database, latest: LatestReadings, device: str
) -> None:
    await until(consumer.function.ready, "readiness")
    data, event_id = reading(device), new_id()
    await lines.clickhouse.cut()
    answer = await consumer.send(data, event_id=event_id)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert await rows_of(database) == []
    assert await latest.get([device]) != [None]  # what is measured now is seen all the same
    await until(lambda: not consumer.function.ready(), "readiness to end")
    assert consumer.function.alive()
    await lines.clickhouse.mend()

    async def accepted() -> bool:
        return (await consumer.send(data, event_id=event_id)).status_code == 202

    await until(accepted, "success after ClickHouse came back")
    assert await rows_of(database) == [(device,)]
    await until(consumer.function.ready, "readiness")


async def test_it_starts_without_clickhouse(settings: ConsumerSettings, lines: Lines) -> None:
    await lines.clickhouse.cut()
    async with deployed(settings) as consumer:
        assert consumer.function.alive()
        assert not consumer.function.ready()
        assert (await consumer.send(reading("d"))).status_code == 503
        await lines.clickhouse.mend()
        await until(consumer.function.ready, "readiness")


async def test_a_breach_is_reported_by_grpc_with_the_token(
    consumer: Deployed, alert_server: AlertServer, device: str
) -> None:
    moment = now_ms()
    readings = [
        reading(device, moment - 1, temperature=90.5),
        reading(device, moment, temperature=101.5),
        reading(device, moment + 1, temperature=90.0),
    ]
    assert (await consumer.send(readings)).status_code == 202
    (request,) = alert_server.requests  # one per device, rule and event: the worst
    assert (request.device_id, request.temperature, request.threshold) == (device, 101.5, 90.0)
    assert request.timestamp.ToMilliseconds() == moment
    assert alert_server.tokens == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("trouble", ["down", "refuses"])
async def test_a_breach_goes_to_the_topic_when_grpc_does_not_take_it(
    settings: ConsumerSettings,
    alerts_topic: str,
    alert_server: AlertServer,
    device: str,
    trouble: str,
) -> None:
    kafka = settings.kafka.model_copy(update={"brokers": alerts_topic, "delivery_timeout": 20.0})
    if trouble == "down":
        await alert_server.stop()
    alert_server.accepts = False
    async with deployed(settings.model_copy(update={"kafka": kafka})) as consumer:
        answer = await consumer.send(reading(device, temperature=101.5))
    assert answer.status_code == 202
    (record,) = await asyncio.to_thread(published, alerts_topic, device, wanted=1)
    headers = dict(record.headers())
    assert headers["ce_type"] == b"com.twinup.alert.requested.v1"
    data = record.value()
    request = alerts.decode(Event(id="1", source="/tests", type="", data=data))
    assert (request.device_id, request.value, request.rule) == (device, 101.5, "temperature-high")
    assert headers["ce_id"] == request.alert_id.encode()


async def test_when_neither_takes_a_breach_the_event_must_come_again_and_doubles_nothing(
    consumer: Deployed, alert_server: AlertServer, database: Database, device: str
) -> None:
    data, event_id = reading(device, temperature=101.5), new_id()
    await alert_server.stop()
    assert (await consumer.send(data, event_id=event_id)).status_code == 503
    assert await rows_of(database) == [(device,)]  # stored all the same
    await alert_server.start()

    async def accepted() -> bool:
        answer: httpx.Response = await consumer.send(data, event_id=event_id)
        return answer.status_code == 202

    await until(accepted, "the alert service to be found again")
    assert await rows_of(database) == [(device,)]
    assert {request.device_id for request in alert_server.requests} == {device}
