"""The list of devices on the real Redis and ClickHouse: pages, cursors, filters, standing."""

import asyncio
import base64
from typing import Any

import httpx
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from sensor_gateway.app import Gateway
from sensor_gateway.models import DevicePage
from sensor_shared.adapters.latest import LAST_SEEN, LatestReadings
from sensor_shared.contracts.readings import SCHEMA
from sensor_shared.testing.parts import Lines

from .conftest import BASE_MS, add_devices, add_reading, moment

pytestmark = pytest.mark.integration
DEVICES = "/api/v1/devices"
IDS = [f"weather_station_{n:06}" for n in range(25)]


async def add_kinds(sql: Any) -> None:
    """Five types in two regions, ten devices each."""
    columns = ["device_id", "device_type", "region", "latitude", "longitude", "updated_at"]
    rows = [
        [f"{kind}_{n:02}", kind, "west" if n % 2 else "", None, None, moment(0)]
        for kind in ("pressure_sensor", "weather_station")
        for n in range(10)
    ]
    await sql.insert("devices", rows, column_names=columns)


async def see(redis: Redis, seen: dict[str, int], status: str = "active") -> None:
    """Puts a latest reading of each device into Redis, by its milliseconds after BASE_MS."""
    rows = [
        {
            "device_id": id_,
            "timestamp": moment(offset),
            "temperature": 20.0,
            "humidity": None,
            "pressure": None,
            "status": status,
            "latitude": None,
            "longitude": None,
            "region": None,
        }
        for id_, offset in seen.items()
    ]
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    await LatestReadings(redis, ttl_seconds=1e9).update(batch)


async def listed(http: httpx.AsyncClient, **parameters: Any) -> list[str]:
    answer = await http.get(DEVICES, params=parameters)
    assert answer.status_code == 200, answer.text
    return [item["device_id"] for item in answer.json()["items"]]


async def test_devices_come_in_pages_with_when_they_were_seen(
    http: httpx.AsyncClient, sql: Any, redis: Redis
) -> None:
    await add_devices(sql, *IDS)
    await add_devices(sql, IDS[0], region="south")  # the same device once more
    await redis.zadd(LAST_SEEN, {IDS[0]: BASE_MS + 1})
    answer = await http.get(DEVICES, params={"page_size": 10})
    first = answer.json()
    assert DevicePage.model_validate_json(answer.content).total == 25
    assert [item["device_id"] for item in first["items"]] == IDS[:10]
    assert (first["page"], first["page_size"], first["total"]) == (1, 10, 25)
    assert first["items"][0]["last_seen"] == "2026-09-21T00:00:00.001Z"
    assert first["items"][1]["last_seen"] is None
    assert {item["status"] for item in first["items"]} == {"silent"}
    third = (await http.get(DEVICES, params={"page": 3, "page_size": 10})).json()
    assert [item["device_id"] for item in third["items"]] == IDS[20:]
    assert third["next"] is None
    beyond = (await http.get(DEVICES, params={"page": 4, "page_size": 10})).json()
    assert (beyond["items"], beyond["total"], beyond["next"]) == ([], 25, None)
    everything = (await http.get(DEVICES)).json()
    assert (len(everything["items"]), everything["page_size"]) == (25, 100)


async def test_cursors_lead_through_the_whole_list_as_next_and_as_link(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, *IDS)
    found: list[str] = []
    url = f"{DEVICES}?page_size=10"
    pages = 0
    while url:
        answer = await http.get(url)
        document = answer.json()
        found += [item["device_id"] for item in document["items"]]
        assert document["total"] == 25
        link = answer.links.get("next")
        assert (link is None) == (document["next"] is None)
        assert pages == 0 or document["page"] is None
        url = link["url"] if link else ""
        pages += 1
    assert (found, pages) == (IDS, 3)


async def test_a_cursor_neither_repeats_nor_misses_a_device_when_others_come(
    gateway: Gateway, http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, *IDS[5:])
    first = (await http.get(DEVICES, params={"page_size": 10})).json()
    await add_devices(sql, *IDS[:5], f"{IDS[17]}_b")
    gateway._devices.fleet._held = None  # as if its seconds were over
    rest = await listed(http, cursor=first["next"], page_size=100)
    assert [item["device_id"] for item in first["items"]] == IDS[5:15]
    assert rest == [*IDS[15:18], f"{IDS[17]}_b", *IDS[18:]]


async def test_a_cursor_that_was_tampered_with_is_refused(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, *IDS)
    cursor = (await http.get(DEVICES, params={"page_size": 10})).json()["next"]
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    changed = [
        base64.urlsafe_b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        for at in range(len(raw))
    ]
    wrong = [one.rstrip(b"=").decode() for one in changed]
    wrong += [cursor[:-1], cursor + "A", cursor[1:], cursor.swapcase()]
    wrong += ["A" * 40, "A" * 240, "-" * 16]
    for one in wrong:
        answer = await http.get(DEVICES, params={"cursor": one, "page_size": 10})
        assert answer.status_code == 422, one
        assert answer.headers["content-type"] == "application/problem+json"
    with_filter = {"cursor": cursor, "type": "weather_station"}
    assert (await http.get(DEVICES, params=with_filter)).status_code == 422
    both = {"cursor": cursor, "page": 1}
    assert (await http.get(DEVICES, params=both)).status_code == 422
    assert (await http.get(DEVICES, params={"cursor": cursor})).status_code == 200


async def test_filters_are_each_one_of_and_all_of_them_together(
    http: httpx.AsyncClient, sql: Any, redis: Redis
) -> None:
    await add_kinds(sql)
    await see(redis, {"weather_station_01": 0, "weather_station_02": 0}, "error")
    await see(redis, {"pressure_sensor_03": 0})
    weather = [f"weather_station_{n:02}" for n in range(10)]
    assert await listed(http, type="weather_station") == weather
    assert len(await listed(http, type=["weather_station", "pressure_sensor"])) == 20
    assert await listed(http, type="weather_station", region="west") == weather[1::2]
    assert await listed(http, region="nowhere") == []
    assert await listed(http, search="STATION_03") == ["weather_station_03"]
    assert await listed(http, search="_03") == ["pressure_sensor_03", "weather_station_03"]
    assert await listed(http, search=".") == []  # text, no pattern
    assert await listed(http, status="error") == weather[1:3]
    assert await listed(http, status="error", region="west") == weather[1:2]
    assert await listed(http, status=["error", "active"]) == ["pressure_sensor_03", *weather[1:3]]
    assert len(await listed(http, status="silent")) == 17


async def test_a_filtered_list_is_turned_by_cursor_too(http: httpx.AsyncClient, sql: Any) -> None:
    await add_kinds(sql)
    asked: dict[str, Any] = {"type": "weather_station", "page_size": 4}
    first = (await http.get(DEVICES, params=asked)).json()
    assert first["total"] == 10
    second = await listed(http, **asked, cursor=first["next"])
    assert second == [f"weather_station_{n:02}" for n in range(4, 8)]


@pytest.mark.parametrize("status", [None, "active"])
async def test_without_redis_clickhouse_tells_how_devices_stand(
    http: httpx.AsyncClient, sql: Any, lines: Lines, status: str | None
) -> None:
    await add_devices(sql, *IDS[:2])
    await add_reading(sql, 1_000, device=IDS[0])
    await add_reading(sql, -3_000_000, device=IDS[1])
    await lines.redis.cut()
    answer = await http.get(DEVICES, params={"status": status} if status else {})
    assert answer.headers["x-data-source"] == "clickhouse"
    stand = {item["device_id"]: item for item in answer.json()["items"]}
    assert stand[IDS[0]]["status"] == "active"
    assert stand[IDS[0]]["last_seen"] == "2026-09-21T00:00:01.000Z"
    assert status or stand[IDS[1]]["status"] == "silent"
    assert len(stand) == (1 if status else 2)


async def test_with_clickhouse_away_the_list_in_memory_is_answered_and_says_its_age(
    gateway: Gateway, http: httpx.AsyncClient, sql: Any, lines: Lines
) -> None:
    await add_devices(sql, *IDS)
    assert len(await listed(http)) == 25
    await lines.clickhouse.cut()
    fleet, loaded = gateway._devices.fleet._held or pytest.fail("not loaded")
    gateway._devices.fleet._held = (fleet, loaded - 600)
    answer = await http.get(DEVICES)
    assert (answer.status_code, answer.headers["x-data-source"]) == (200, "stale, redis")
    assert int(answer.headers["age"]) >= 600
    assert answer.json()["total"] == 25
    # The roll is called anew, over the old list.
    by_status = await http.get(DEVICES, params={"status": "silent"})
    assert (by_status.status_code, by_status.headers["x-data-source"]) == (200, "stale, redis")
    assert int(by_status.headers["age"]) >= 600
    assert by_status.json()["total"] == 25
    one = await http.get(f"{DEVICES}/{IDS[3]}")
    assert (one.status_code, one.headers["x-data-source"]) == (200, "stale, redis")
    assert (await http.get(f"{DEVICES}/unknown")).status_code == 503


async def test_500_who_want_the_list_at_once_cause_one_query(
    gateway: Gateway, http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, *IDS)
    asked: list[str] = []
    text = gateway._database.text

    async def counted(sql: str, **parameters: Any) -> bytes:
        asked.append(sql)
        return await text(sql, **parameters)

    gateway._database.text = counted  # type: ignore[method-assign]
    answers = await asyncio.gather(
        *(http.get(DEVICES, params={"page_size": 1 + n % 25}) for n in range(500))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len(asked) == 1


async def test_one_device_is_what_the_list_says_of_it(
    http: httpx.AsyncClient, sql: Any, redis: Redis
) -> None:
    await add_devices(sql, *IDS[:3])
    await see(redis, {IDS[1]: 5_000}, "maintenance")
    item = (await http.get(DEVICES)).json()["items"][1]
    one = await http.get(f"{DEVICES}/{IDS[1]}")
    assert one.json() == item
    assert item == {
        "device_id": IDS[1],
        "device_type": "weather_station",
        "region": "north",
        "latitude": 40.5,
        "longitude": 27.25,
        "last_seen": "2026-09-21T00:00:05.000Z",
        "status": "maintenance",
    }
    await add_devices(sql, "just_come")
    assert (await http.get(f"{DEVICES}/just_come")).json()["device_id"] == "just_come"
    assert (await http.get(f"{DEVICES}/never_came")).status_code == 404


@pytest.mark.parametrize("path", [DEVICES, f"{DEVICES}/{IDS[0]}"])
async def test_what_the_caller_has_already_is_not_sent_again(
    http: httpx.AsyncClient, sql: Any, redis: Redis, path: str
) -> None:
    await add_devices(sql, *IDS)
    first = await http.get(path)
    assert first.headers["cache-control"] == "private, no-cache"
    for tag in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
        again = await http.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b""), tag
        assert again.headers["etag"] == first.headers["etag"]
    await see(redis, {IDS[0]: 5_000})
    changed = await http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200


async def test_a_page_that_cannot_be_is_422(http: httpx.AsyncClient) -> None:
    impossible: list[dict[str, Any]] = [
        {"page": 0}, {"page": "x"}, {"page": -1}, {"page": 10**30}, {"page_size": 0},
        {"page_size": 1_001}, {"type": "submarine"}, {"status": "asleep"}, {"search": "a b"},
        {"search": "%"}, {"search": "x" * 129}, {"region": "x" * 65}, {"region": ""},
        {"region": [str(n) for n in range(17)]}, {"cursor": "x"}, {"cursor": "x" * 241},
    ]  # fmt: skip
    for parameters in impossible:
        answer = await http.get(DEVICES, params=parameters)
        assert answer.status_code == 422, parameters
        location = answer.json()["errors"][0]["location"]
        assert location.startswith(f"query.{next(iter(parameters))}"), parameters
