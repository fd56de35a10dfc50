"""Analytics of a device and statistics of the system, on the real Redis and ClickHouse."""

import asyncio
from typing import Any

import httpx
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from sensor_gateway.app import Gateway
from sensor_gateway.insights import DeviceAnalytics, SystemStats
from sensor_gateway.windows import Windows
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.contracts.readings import SCHEMA
from sensor_shared.testing.parts import Lines

from .conftest import BASE_MS, DEVICE, add_devices, add_reading, moment

pytestmark = pytest.mark.integration
ANALYTICS = f"/api/v1/devices/{DEVICE}/analytics"
STATS = "/api/v1/stats"
MINUTE = 60_000
HOUR = 60 * MINUTE


async def analytics(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get(ANALYTICS)
    assert answer.status_code == 200, answer.text
    DeviceAnalytics.model_validate_json(answer.content)
    found: dict[str, Any] = answer.json()
    return found


async def roll_up(sql: Any, *, run_ms: int) -> None:
    """Makes all rollups of what is stored, as the consumer's job does, and notes the run."""
    columns = ", ".join(
        f"count({m}) AS {m}_count, sum(ifNull({m}, 0)) AS {m}_sum, min({m}) AS {m}_min,"
        f" max({m}) AS {m}_max, argMax({m}, timestamp) AS {m}_last"
        for m in ("temperature", "humidity", "pressure")
    )
    names = ", ".join(
        f"{m}_count, {m}_sum, {m}_min, {m}_max, {m}_last"
        for m in ("temperature", "humidity", "pressure")
    )
    for level in ("Minute", "Hour", "Day"):
        await sql.command(f"""
            INSERT INTO readings_{level.lower()} (device_id, time, readings, {names}, version)
            SELECT device_id, toStartOf{level}(timestamp) AS time, count(), {columns}, now64(6)
            FROM readings FINAL GROUP BY device_id, time""")  # noqa: S608  (constants)
    # The tests' day is too long ago for a run to be kept.
    await sql.command("ALTER TABLE rollup_runs REMOVE TTL")
    await sql.insert("rollup_runs", [[moment(run_ms - BASE_MS)]], column_names=["begun_at"])


async def test_a_trend_of_stored_readings_is_the_line_through_them(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    for second in range(60):  # 0.01 °C a second are 36 °C an hour
        await add_reading(sql, second * 1_000, temperature=20 + second / 100)
    found = await analytics(http)
    trend = found["trend"]
    assert trend["to"] == "2026-09-21T00:00:59.000Z"
    temperature = trend["metrics"]["temperature"]
    assert temperature["slope_per_hour"] == pytest.approx(36.0, abs=1e-4)
    assert (temperature["direction"], temperature["points"]) == ("rising", 60)
    assert temperature["confidence"] == 1.0
    assert (temperature["min"], temperature["max"], temperature["unit"]) == (20.0, 20.59, "°C")
    humidity = trend["metrics"]["humidity"]
    assert (humidity["direction"], humidity["slope_per_hour"], humidity["confidence"]) == (
        "stable",
        0.0,
        0.0,
    )
    assert trend["metrics"]["pressure"] is None


async def test_windows_hold_what_their_minutes_measured(http: httpx.AsyncClient, sql: Any) -> None:
    await add_devices(sql, DEVICE)
    # By minutes before the minute of now: which lies in all windows, the next ones in fewer.
    for minutes, temperature in ((0, 10.0), (4, 12.5), (5, 20.0), (14, 21.0), (59, 30.0)):
        for _ in range(2):  # delivered twice
            await add_reading(sql, MINUTE - minutes * MINUTE, temperature=temperature)
    await add_reading(sql, MINUTE - 61 * MINUTE, temperature=99.0)
    windows = (await analytics(http))["windows"]
    five, quarter, hour, day = (
        windows[name]["metrics"]["temperature"] for name in ("5m", "15m", "1h", "24h")
    )
    assert five == {
        "count": 2,
        "mean": 11.25,
        "min": 10.0,
        "max": 12.5,
        "change": -2.5,
        "sudden_changes": 2,
    }
    assert (quarter["count"], quarter["change"], quarter["sudden_changes"]) == (4, -11.0, 3)
    assert (hour["count"], hour["max"], hour["sudden_changes"]) == (5, 30.0, 4)
    assert (day["count"], day["max"], day["change"]) == (6, 99.0, None)
    assert windows["5m"]["from"] == "2026-09-20T23:57:00.000Z"
    assert windows["24h"]["readings"] == 6
    assert windows["1h"]["metrics"]["pressure"] is None


async def test_a_day_is_the_same_with_and_without_rollups(
    gateway: Gateway, http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    for at in range(0, 24 * 60, 7):
        await add_reading(sql, -at * MINUTE, temperature=(at * 37 % 1_000) / 10 - 50)
    raw = (await analytics(http))["windows"]
    await roll_up(sql, run_ms=BASE_MS)
    # What the rollups speak for is not read from the readings: these are gone.
    await sql.command(
        "ALTER TABLE readings DELETE WHERE timestamp < {t:DateTime64(3)} SETTINGS mutations_sync=1",
        parameters={"t": moment(-2 * HOUR)},
    )
    windows = Windows(gateway._database, threshold=2.0)
    rolled = await windows.summaries(DEVICE, BASE_MS + MINUTE)
    assert rolled["24h"]["metrics"]["temperature"] == raw["24h"]["metrics"]["temperature"]
    assert rolled["24h"]["readings"] == raw["24h"]["readings"]


async def test_where_there_is_not_enough_data_the_answer_is_null_and_404_for_nobody(
    http: httpx.AsyncClient, sql: Any
) -> None:
    assert (await http.get(ANALYTICS)).status_code == 404
    await add_devices(sql, DEVICE)
    found = await analytics(http)
    assert found["trend"] is None
    assert found["windows"]["24h"]["readings"] == 0
    assert set(found["windows"]["5m"]["metrics"].values()) == {None}
    await add_reading(sql, 0)
    trend = (await analytics(http))["trend"]["metrics"]["temperature"]
    assert (trend["points"], trend["direction"]) == (1, "stable")
    assert (trend["slope_per_hour"], trend["standard_error"], trend["confidence"]) == (None,) * 3


async def test_analytics_go_on_without_redis_and_from_the_cache_without_clickhouse(
    gateway: Gateway, http: httpx.AsyncClient, sql: Any, lines: Lines
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0)
    first = await http.get(ANALYTICS)
    assert first.headers["x-data-source"] == "clickhouse"
    await lines.clickhouse.cut()
    second = await http.get(ANALYTICS)
    assert (second.status_code, second.headers["x-data-source"]) == (200, "cache")
    assert second.json()["windows"] == first.json()["windows"]
    assert second.json()["trend"] is None
    await lines.clickhouse.mend()
    await lines.redis.cut()
    third = await http.get(ANALYTICS)
    assert third.status_code == 200
    assert third.json() == first.json()


async def test_the_statistics_count_what_is_there(
    http: httpx.AsyncClient, sql: Any, redis: Redis
) -> None:
    await add_devices(sql, "a", "b", region="west")
    await add_devices(sql, "c", region="")
    for offset in (-30_000, -90_000, -2 * HOUR, -30 * HOUR):
        for device in ("a", "c"):
            for _ in range(2):  # delivered twice
                await add_reading(sql, offset, device=device)
    await roll_up(sql, run_ms=BASE_MS)
    row = [moment(0), "s", "e", 0, "invalid_timestamp", "", "", ""]
    names = [
        "received_at",
        "source",
        "event_id",
        "position",
        "reason",
        "detail",
        "device_id",
        "raw",
    ]
    await sql.insert("rejects", [row, row], column_names=names)
    reading = dict.fromkeys(SCHEMA.names) | {
        "device_id": "a",
        "timestamp": moment(MINUTE - 1_500),
        "temperature": 1.0,
        "status": "error",
    }
    batch = pa.RecordBatch.from_pylist([reading], SCHEMA)
    await LatestReadings(redis, ttl_seconds=1e9).update(batch)
    answer = await http.get(STATS)
    assert answer.status_code == 200, answer.text
    SystemStats.model_validate_json(answer.content)
    found = answer.json()
    assert found["devices"] == {
        "total": 3,
        "by_type": {"weather_station": 3},
        "by_region": {"": 1, "west": 2},
        "by_status": {"active": 0, "error": 1, "maintenance": 0, "silent": 2},
        "newest_reading": "2026-09-21T00:00:58.500Z",
        "age_of_latest_seconds": {"p50": 1.5, "p99": 1.5},
    }
    readings = found["readings"]
    assert readings["up_to"] == "2026-09-21T00:00:00Z"
    assert (readings["last_minute"], readings["last_hour"]) == (2, 4)
    assert (readings["last_day"], readings["total"]) == (6, 8)
    assert readings["per_second"] == round(2 / 60, 3)
    assert readings["last_hour_by_region"] == {"": 2, "west": 2}
    assert readings["last_hour_by_type"] == {"weather_station": 4}
    assert 8 <= readings["rows"] <= 16
    assert readings["bytes_on_disk"] > 0
    assert found["rejects"]["last_hour_by_reason"] == {"invalid_timestamp": 1}


async def test_an_empty_system_has_no_figures_that_nobody_counted(http: httpx.AsyncClient) -> None:
    found = SystemStats.model_validate_json((await http.get(STATS)).content)
    assert (found.devices.total, found.readings.rows, found.rejects.rows) == (0, 0, 0)
    assert found.readings.last_minute is None
    assert found.readings.total is None
    assert found.devices.age_of_latest_seconds is None


@pytest.mark.parametrize("redis_timeout", [20.0])
@pytest.mark.parametrize("section", [{"stats_seconds": 300.0}])
async def test_500_who_want_the_statistics_at_once_have_them_counted_once(
    gateway: Gateway, http: httpx.AsyncClient, lines: Lines
) -> None:
    asked: list[str] = []
    rows = gateway._database.rows

    async def counted(sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return await rows(sql, **parameters)

    gateway._database.rows = counted  # type: ignore[method-assign]
    answers = await asyncio.gather(*(http.get(STATS) for _ in range(500)))
    assert {answer.status_code for answer in answers} == {200}
    assert len([sql for sql in asked if "system.parts" in sql]) == 1
    await lines.clickhouse.cut()
    kept = await http.get(STATS)
    assert (kept.status_code, kept.headers["x-data-source"]) == (200, "cache")
    again = await http.get(STATS, headers={"If-None-Match": kept.headers["etag"]})
    assert again.status_code == 304
