"""The gateway answers the trends that analytics published, from Redis or ClickHouse."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from redis.asyncio import Redis

from sensor_analytics.analysis import Analysis
from sensor_analytics.state import DeviceStore
from sensor_gateway.analytics import Analytics
from sensor_gateway.cache import Cache, CacheSettings
from sensor_gateway.windows import Windows
from sensor_shared.adapters import clickhouse
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.windows import WindowSettings
from sensor_shared.contracts.readings import METRICS, SCHEMA
from sensor_shared.testing.parts import Lines

pytestmark = pytest.mark.integration
DEVICE = "weather_station_000001"


def readings(now_ms: int) -> pa.RecordBatch:
    """A reading every three seconds for twelve minutes: rising, noisy, and falling with gaps."""
    rows = [
        {
            "device_id": DEVICE,
            "timestamp": now_ms - 3_000 * (240 - n),
            "temperature": round(20 + n / 30 + (n * 7 % 5) / 10, 3),
            "humidity": 50 + (n * 7919 % 101) / 20,
            "pressure": None if n % 3 else 1000 - n / 40,
            "status": "active",
            "latitude": None,
            "longitude": None,
            "region": None,
        }
        for n in range(240)
    ]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


async def store(settings: ClickHouseSettings, batch: pa.RecordBatch) -> None:
    client = await clickhouse.connect(settings)
    names = ["device_id", "timestamp", *METRICS, "status"]
    await client.insert(
        "readings", [[row[name] for name in names] for row in batch.to_pylist()], column_names=names
    )
    await client.close()


async def test_the_trend_is_the_one_that_was_published_and_the_same_from_clickhouse(
    lines: Lines,
) -> None:
    now_ms = time.time_ns() // 1_000_000
    settings = WindowSettings(prefix=f"analytics-{uuid.uuid4().hex}")
    published: list[dict[str, Any]] = []
    redis = Redis(**lines.sections["redis"])
    clock: Iterator[int] = iter((now_ms, now_ms + 600_000))
    analysis = Analysis(
        DeviceStore(redis, settings.prefix, settings.trend_window),
        lambda topic, body: published.append({"topic": topic, **json.loads(body)}),
        settings,
        now_ms=lambda: next(clock),
    )
    batch = readings(now_ms)
    await analysis.take([batch.slice(0, 239)])
    await analysis.take([batch.slice(239)])
    [message] = [one for one in published if one["topic"].endswith("/trend")]

    database_settings = ClickHouseSettings.model_validate(lines.sections["clickhouse"])
    await store(database_settings, batch)
    database = Database(database_settings)
    windows = Windows(database, threshold=settings.delta_threshold)
    cache = Cache(redis, CacheSettings())
    analytics = Analytics(redis, windows, cache, settings, ttl_seconds=1, now_ms=lambda: now_ms)
    answered = await analytics.of(DEVICE)
    trend = json.loads(answered.body)["trend"]
    assert (answered.source, trend["to"]) == ("clickhouse, redis", message["timestamp"])
    assert trend["from"] == message["window"]["start"]
    assert trend["metrics"].keys() == message["metrics"].keys()
    for name, told in message["metrics"].items():
        found = trend["metrics"][name]
        assert {key: found[key] for key in told} == told, name
    assert [trend["metrics"][name]["direction"] for name in METRICS] == [
        "rising",
        "stable",
        "falling",
    ]

    await redis.delete(*[key async for key in redis.scan_iter(f"{settings.prefix}:*")])
    without = await analytics.of(DEVICE)
    assert json.loads(without.body)["trend"] == trend
    assert without.source in {"cache, clickhouse", "clickhouse"}
    await redis.aclose()
    await database.close()
