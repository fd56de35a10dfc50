"""The whole function: events by HTTP in, messages at an independent MQTT subscriber out."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sensor_analytics.app import Analytics
from sensor_analytics.settings import AnalyticsSettings
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.events import PING, PLAIN_KAFKA_RECORD, rfc3339

from .conftest import Deployed, batch_of, subscribed, until

pytestmark = pytest.mark.integration

Deploy = Callable[..., Any]


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


async def test_a_sudden_change_is_heard_once_though_the_event_comes_twice(
    deploy: Deploy, mqtt_broker: Any, prefix: str
) -> None:
    device, at = f"{prefix}_000001", now_ms()
    topic = f"analytics/device/{device}/delta"
    async with deploy() as function, subscribed(mqtt_broker, topic) as subscriber:
        await until(function.function.ready)
        rows = [(device, at - 2_000, 20.0, None, 1013.0), (device, at - 1_000, 30.5, 50.0, 1013.5)]
        for event_id in ("1", "1", "2"):
            answer = await function.send(batch_of(rows), event_id=event_id)
            assert answer.status_code == 202
        await until(lambda: subscriber.on(topic))
        await function.send(batch_of([(device, at, 30.5, 50.0, 1013.5)]))
    (message,) = subscriber.on(topic)
    assert message["metrics"]["temperature"]["change"] == 10.5
    assert list(message["metrics"]) == ["temperature"]


async def test_trends_are_heard(deploy: Deploy, mqtt_broker: Any, prefix: str) -> None:
    device, at = f"{prefix}_000002", now_ms() - 60_000
    topic = f"analytics/device/{device}/trend"
    async with (
        deploy(trend_check=0.01, trend_interval=0.01, step_interval=0.02) as function,
        subscribed(mqtt_broker, f"analytics/device/{device}/+") as subscriber,
    ):
        await until(function.function.ready)
        for second in range(30):
            row = (device, at + 1_000 * second, 20 + second * 0.05, None, None)
            assert (await function.send(batch_of([row]))).status_code == 202
        await until(
            lambda: (
                subscriber.on(topic)
                and subscriber.on(topic)[-1]["metrics"]["temperature"]["points"] == 30
            )
        )
    trend = subscriber.on(topic)[-1]["metrics"]["temperature"]
    assert trend["direction"] == "rising"
    assert trend["slope_per_hour"] == pytest.approx(180)
    assert (trend["min"], trend["max"]) == (20.0, 21.45)


async def test_plain_records_count_and_missing_values_never_do(
    deploy: Deploy, mqtt_broker: Any, prefix: str
) -> None:
    """The original's failed measurement, -999 in every metric, makes no change of 1,000 °C."""
    device = f"{prefix}_000003"
    topic = f"analytics/device/{device}/delta"
    begin = datetime.now(UTC) - timedelta(seconds=10)

    def record(second: int, *values: float) -> dict[str, Any]:
        names = ("temperature", "humidity", "pressure")
        return {
            "device_id": device,
            "timestamp": rfc3339(begin + timedelta(seconds=second)),
            **dict(zip(names, values, strict=True)),
        }

    async with deploy(delta_interval=0) as function, subscribed(mqtt_broker, topic) as subscriber:
        await until(function.function.ready)
        for data in (
            record(0, 20.0, 50.0, 1013.0),
            record(1, -999.0, -999.0, -999.0),
            record(2, -999.0, 50.5, -999.0),
            {"nonsense": True},
            record(3, 26.0, 51.0, 1013.0),
        ):
            answer = await function.send(data, kind=PLAIN_KAFKA_RECORD)
            assert answer.status_code == 202
        await until(lambda: subscriber.on(topic))
    (message,) = subscriber.on(topic)
    assert message["metrics"].keys() == {"temperature"}
    assert message["metrics"]["temperature"]["previous"] == 20.0


async def test_an_event_of_another_type_is_ignored(deploy: Deploy) -> None:
    async with deploy() as function:
        await until(function.function.ready)
        assert (await function.send({}, kind="com.example.other")).status_code == 202


async def test_with_redis_away_events_come_again_and_the_function_is_not_ready(
    deploy: Deploy, prefix: str
) -> None:
    async with deploy() as function:
        await until(function.function.ready)
        await function.redis.cut()
        answer = await function.send(batch_of([(f"{prefix}_4", now_ms(), 20.0, None, None)]))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        await until(lambda: not function.function.ready())
        await function.redis.mend()
        await until(function.function.ready)
        again = await function.send(batch_of([(f"{prefix}_4", now_ms(), 20.0, None, None)]))
        assert again.status_code == 202


async def test_with_the_broker_away_events_succeed_and_the_newest_messages_wait(
    deploy: Deploy, mqtt_broker: Any, prefix: str
) -> None:
    """Five messages wait at most; the older ones are given up and counted."""
    topics = f"analytics/device/{prefix}_{{}}/delta"
    lost = 'sensor_analytics_failed_total{kind="delta"}'
    async with (
        deploy(queue=5) as function,
        subscribed(mqtt_broker, *(topics.format(number) for number in range(8))) as subscriber,
    ):
        await until(function.function.ready)
        before = await function.metric(lost)
        await function.mqtt.cut()
        await until(lambda: not function.function.ready())
        for number in range(8):
            rows = [
                (f"{prefix}_{number}", now_ms() + moment, 20.0 + moment, None, None)
                for moment in (0, 10)
            ]
            assert (await function.send(batch_of(rows))).status_code == 202
        assert await function.metric(lost) == before + 3
        await function.mqtt.mend()
        await until(lambda: len(subscriber.heard) >= 5)
    heard = {topic for topic, _ in subscriber.heard}
    assert heard == {topics.format(number) for number in range(3, 8)}


@pytest.fixture
async def database(clickhouse_server: Any) -> Any:
    """A database with readings of four devices in two regions, some twice, some too old."""
    settings = ClickHouseSettings(
        host=clickhouse_server.host,
        port=clickhouse_server.port,
        user=clickhouse_server.user,
        password=clickhouse_server.password,
        database=clickhouse_server.database(),
    )
    client = Database(settings)
    yield client, settings.database
    await client.close()


END = datetime(2026, 11, 23, 19, 30, tzinfo=UTC)


async def fill(database: Database, prefix: str) -> None:
    places = {"a": "south", "b": "south", "c": "north", "d": ""}
    for device, region in places.items():
        await database.insert(
            "devices",
            {
                "device_id": f"{prefix}_{device}",
                "device_type": "unknown",
                "region": f"{prefix}/{region}" if region else "",
                "latitude": None,
                "longitude": None,
                "updated_at": END,
            },
        )
    readings = [
        ("a", -301, 99.0, "active"),  # before the window
        ("a", -300, 10.0, "active"),
        ("a", -200, 11.5, "active"),
        ("a", -200, 11.5, "active"),  # twice
        ("b", -100, 20.25, "active"),
        ("b", -10, None, "maintenance"),
        ("b", 0, 99.0, "active"),  # the window ends before
        ("c", -1, -5.0, "active"),
        ("d", -1, 70.0, "active"),
    ]
    for device, second, temperature, status in readings:
        await database.insert(
            "readings",
            {
                "device_id": f"{prefix}_{device}",
                "timestamp": END + timedelta(seconds=second),
                "temperature": temperature,
                "humidity": 50.0 if device == "c" else None,
                "pressure": None,
                "status": status,
            },
        )


async def ping(function: Deployed, event_id: str = "ping-1") -> int:
    answer = await function.send(
        {"task": "region-summary"}, kind=PING, event_id=event_id, time=rfc3339(END)
    )
    return answer.status_code


async def test_each_ping_summarises_the_regions_once_from_what_is_stored(
    deploy: Deploy, mqtt_broker: Any, database: Any, prefix: str
) -> None:
    client, name = database
    await fill(client, prefix)
    topic = f"analytics/region/{prefix}%2F{{}}/summary"
    south, north = topic.format("south"), topic.format("north")
    async with (
        deploy(database=name) as function,
        subscribed(mqtt_broker, south, north) as subscriber,
    ):
        await until(function.function.ready)
        assert [await ping(function), await ping(function)] == [202, 202]
        assert await ping(function, "ping-2") == 202
        await until(lambda: len(subscriber.on(south)) >= 2 and len(subscriber.on(north)) >= 2)
    assert len(subscriber.heard) == 4
    assert (
        subscriber.on(south)[0]
        == subscriber.on(south)[1]
        == {
            "region": f"{prefix}/south",
            "timestamp": "2026-11-23T19:30:00.000Z",
            "window": {"start": "2026-11-23T19:25:00.000Z", "end": "2026-11-23T19:30:00.000Z"},
            "devices": 2,
            "active_devices": 1,
            "metrics": {
                "temperature": {
                    "unit": "°C",
                    "count": 3,
                    "mean": 13.916667,
                    "min": 10.0,
                    "max": 20.25,
                }
            },
        }
    )
    assert subscriber.on(north)[0]["metrics"] == {
        "temperature": {"unit": "°C", "count": 1, "mean": -5.0, "min": -5.0, "max": -5.0},
        "humidity": {"unit": "%", "count": 1, "mean": 50.0, "min": 50.0, "max": 50.0},
    }


async def test_a_summary_is_what_a_direct_query_says(
    deploy: Deploy, mqtt_broker: Any, database: Any, prefix: str
) -> None:
    client, name = database
    region = f"{prefix}-west"
    await client.rows(
        "INSERT INTO devices SELECT concat({p:String}, toString(number)), 'unknown', {r:String}, "
        "NULL, NULL, now64(3) FROM numbers(50)",
        p=prefix,
        r=region,
    )
    await client.rows(
        "INSERT INTO readings SELECT concat({p:String}, toString(number % 60)), "
        "fromUnixTimestamp64Milli({end:Int64} - number * 137, 'UTC'), "
        "if(number % 7 = 0, NULL, toDecimal32(number % 991 / 10, 3)), "
        "toDecimal32(number % 97, 3), NULL, if(number % 5 = 0, 'error', 'active') "
        "FROM numbers(5000)",
        p=prefix,
        end=int(END.timestamp() * 1000) - 1,
    )
    (expected,) = await client.rows(
        "SELECT countIf(temperature IS NOT NULL), avg(toFloat64(temperature)), "
        "min(toFloat64(temperature)), max(toFloat64(temperature)), uniqExact(device_id), "
        "count(humidity) FROM readings FINAL WHERE timestamp >= {start:String} "
        "AND timestamp < {end:String} AND device_id IN (SELECT device_id FROM devices)",
        start="2026-11-23 19:25:00",
        end="2026-11-23 19:30:00",
    )
    topic = f"analytics/region/{region}/summary"
    async with deploy(database=name) as function, subscribed(mqtt_broker, topic) as subscriber:
        await until(function.function.ready)
        assert await ping(function) == 202
        await until(lambda: subscriber.on(topic))
    (summary,) = subscriber.on(topic)
    temperature = summary["metrics"]["temperature"]
    assert temperature["count"] == expected[0]
    assert temperature["mean"] == pytest.approx(expected[1], abs=1e-5)
    assert (temperature["min"], temperature["max"]) == expected[2:4]
    assert summary["devices"] == expected[4]
    assert summary["metrics"]["humidity"]["count"] == expected[5]


async def test_without_the_database_a_ping_comes_again(deploy: Deploy) -> None:
    async with deploy(database="none") as function:
        await until(function.function.ready)
        assert await ping(function) in (500, 503)


async def test_before_its_start_the_function_is_alive_but_not_ready() -> None:
    function = Analytics(AnalyticsSettings())
    assert function.alive()
    assert not function.ready()
