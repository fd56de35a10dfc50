"""Devices, latest metrics and history, on the real Redis and ClickHouse."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.testing.parts import Lines

from .conftest import BASE_MS, DEVICE, Issuer, add_devices, add_reading, moment, readings_of, until

pytestmark = pytest.mark.integration
METRICS = f"/api/v1/devices/{DEVICE}/metrics"
HISTORY = f"/api/v1/devices/{DEVICE}/history"


def batch(offset_ms: int, temperature: float) -> pa.RecordBatch:
    return readings_of({DEVICE: temperature}, moment(offset_ms))


async def test_the_latest_metrics_are_what_redis_holds_byte_for_byte(
    http: httpx.AsyncClient, redis: Redis
) -> None:
    await LatestReadings(redis, ttl_seconds=1e9).update(batch(1_000, 21.5))
    stored = LatestReadings(redis, now_ms=lambda: BASE_MS + 60_000)
    answer = await http.get(METRICS)
    assert answer.status_code == 200
    assert answer.headers["x-data-source"] == "redis"
    assert answer.headers["content-type"] == "application/json"
    assert [answer.content] == await stored.get([DEVICE])
    assert answer.json()["timestamp"] == "2026-09-21T00:00:01.000Z"


async def test_clickhouse_answers_the_same_document_when_redis_has_none(
    http: httpx.AsyncClient, redis: Redis, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0, temperature=1.0)
    await add_reading(sql, 1_000, temperature=21.5)
    from_clickhouse = await http.get(METRICS)
    assert from_clickhouse.headers["x-data-source"] == "clickhouse"
    await LatestReadings(redis, ttl_seconds=1e9).update(batch(1_000, 21.5))
    from_redis = await http.get(METRICS)
    assert from_redis.headers["x-data-source"] == "redis"
    assert from_redis.content == from_clickhouse.content


async def test_with_redis_away_reads_go_on(http: httpx.AsyncClient, lines: Lines, sql: Any) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 1_000)
    await lines.redis.cut()
    assert (await http.get(METRICS)).headers["x-data-source"] == "clickhouse"
    devices = await http.get("/api/v1/devices")
    assert [item["device_id"] for item in devices.json()["items"]] == [DEVICE]
    assert devices.headers["x-data-source"] == "clickhouse"
    history = await http.get(HISTORY, params={"from": BASE_MS, "to": BASE_MS + 5_000})
    assert len(history.json()["items"]) == 1


async def test_with_clickhouse_away_the_latest_is_still_there(
    http: httpx.AsyncClient, lines: Lines, redis: Redis
) -> None:
    await LatestReadings(redis, ttl_seconds=1e9).update(batch(1_000, 21.5))
    await lines.clickhouse.cut()
    assert (await http.get(METRICS)).status_code == 200
    for path in (HISTORY, "/api/v1/devices", "/api/v1/devices/another/metrics"):
        answer = await http.get(path)
        assert answer.status_code == 503, path
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_device_is_404(http: httpx.AsyncClient) -> None:
    for path in (METRICS, HISTORY):
        answer = await http.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["title"] == "Not Found"


async def test_a_history_counts_each_moment_once_and_keeps_to_its_span(
    http: httpx.AsyncClient, sql: Any
) -> None:
    for offset in (0, 1_000, 2_000, 2_000, 3_000):
        await add_reading(sql, offset, temperature=offset / 1000)
    await add_reading(sql, 1_500, device="another")
    span = {"from": BASE_MS + 1_000, "to": BASE_MS + 3_000}
    newest = (await http.get(HISTORY, params=span)).json()
    assert newest == {
        "device_id": DEVICE,
        "from": "2026-09-21T00:00:01.000Z",
        "to": "2026-09-21T00:00:03.000Z",
        "resolution": "raw",
        "order": "newest",
        "minutes_behind": 0,
        "truncated": False,
        "next": None,
        "items": [
            {
                "timestamp": f"2026-09-21T00:00:0{second}.000Z",
                "temperature": second,
                "humidity": 50.25,
                "pressure": None,
                "status": "active",
            }
            for second in (2, 1)
        ],
    }
    oldest = (await http.get(HISTORY, params={**span, "order": "oldest", "limit": 1})).json()
    assert oldest["truncated"] is True
    assert [item["temperature"] for item in oldest["items"]] == [1]


async def test_a_history_of_one_metric_leaves_the_others_out(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_reading(sql, 0)
    span = {"from": "2026-09-21T02:00:00+02:00", "to": "2026-09-21T00:00:00.001Z"}
    answer = await http.get(HISTORY, params={**span, "metric": "humidity"})
    assert [set(item) for item in answer.json()["items"]] == [{"timestamp", "humidity", "status"}]


async def test_a_device_without_readings_in_the_span_has_an_empty_history(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    answer = await http.get(HISTORY, params={"from": BASE_MS, "to": BASE_MS + 1})
    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_a_history_that_cannot_be_is_422(http: httpx.AsyncClient) -> None:
    impossible: list[dict[str, Any]] = [
        {"from": "yesterday"}, {"from": "2026-09-21T00:00:00"}, {"to": "-1"}, {"to": 10**13},
        {"from": 2_000, "to": 1_000}, {"from": 0, "to": BASE_MS}, {"limit": 0},
        {"limit": 10_001}, {"metric": "1; DROP TABLE readings"}, {"order": "random()"},
        {"from": "2026-02-30T00:00:00Z"}, {"from": "१२३"},
    ]  # fmt: skip
    for parameters in impossible:
        answer = await http.get(HISTORY, params=parameters)
        assert answer.status_code == 422, parameters
        assert answer.headers["content-type"] == "application/problem+json"


async def test_health_is_at_the_originals_path_too(anonymous: httpx.AsyncClient) -> None:
    short, long = await anonymous.get("/health"), await anonymous.get("/api/v1/health")
    assert (short.status_code, short.json()) == (long.status_code, long.json())


async def test_what_is_no_device_id_reaches_no_store(http: httpx.AsyncClient, lines: Lines) -> None:
    await lines.clickhouse.cut()
    strange = ("a'b", "x' OR '1'='1", "%00", "a" * 129, "a%0Ab", "ä", "{x:String}", "a%0A")
    for device in strange:
        for what in ("/metrics", "/history", "/analytics", ""):
            answer = await http.get(f"/api/v1/devices/{device}{what}")
            assert answer.status_code == 422, device
            assert answer.json()["errors"][0]["location"] == "path.device_id"


async def test_the_decimals_stored_are_the_numbers_answered(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0, temperature=-12.345)
    latest = json.loads((await http.get(METRICS)).content)
    assert latest["temperature"] == -12.345
    history = await http.get(HISTORY, params={"from": BASE_MS, "to": BASE_MS + 1})
    assert history.json()["items"][0]["temperature"] == -12.345


async def test_it_starts_before_the_database_is_there_and_is_ready_with_redis_alone(
    lines: Lines, issuer: Issuer
) -> None:
    lines.sections["clickhouse"]["database"] = "not_there"
    sections = {"jwks": {"url": issuer.url}, "gateway": {"probe_seconds": 0.05}}
    function = Gateway(GatewaySettings.model_validate({**lines.sections, **sections}))
    await function.start()
    await until(function.ready)
    assert function.alive()
    assert not function._parts.clickhouse
    await function.stop()


def test_the_config_file_holds_the_defaults_and_only_keys_that_exist() -> None:
    file = Path(__file__).parents[3] / "configs" / "gateway-config.yaml"
    assert GatewaySettings.load({}, file) == GatewaySettings()


@pytest.mark.parametrize("section", [{"query_seconds": 1, "fleet_seconds": 0.1}])
async def test_a_clickhouse_that_hangs_holds_up_nothing_that_is_known_and_the_rest_not_for_long(
    http: httpx.AsyncClient, lines: Lines, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    assert (await http.get("/api/v1/devices")).status_code == 200
    lines.clickhouse.stall()
    await asyncio.sleep(0.5)
    async with asyncio.timeout(1.5):
        devices = await http.get("/api/v1/devices")
    assert (devices.status_code, devices.headers["x-data-source"]) == (200, "stale, redis")
    async with asyncio.timeout(3):
        assert (await http.get(HISTORY)).status_code == 503
    await lines.clickhouse.mend()
