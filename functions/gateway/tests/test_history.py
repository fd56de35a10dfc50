"""Histories over HTTP: pages, charts, and queries that end when nobody wants their answer."""

import asyncio
import math
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import httpx
import pytest

from sensor_gateway.domain import Span
from sensor_gateway.rollups.resolution import Resolution, choose
from sensor_shared.testing.parts import Lines

from .conftest import BASE_MS, DEVICE, add_devices, add_reading

pytestmark = pytest.mark.integration
HISTORY: Final = f"/api/v1/devices/{DEVICE}/history"
HOUR: Final[dict[str, Any]] = {"from": BASE_MS, "to": BASE_MS + 3_600_000}
Point = tuple[float, float]


async def fill(sql: Any, seconds: int, *, missing: int = 7) -> None:
    """Stores a wave with a spike, a reading a second; each `missing`-th temperature is missing."""
    await sql.command(
        "INSERT INTO readings SELECT {device:String}, "
        "fromUnixTimestamp64Milli({start:Int64} + 1000 * number), "
        "if(number % {missing:UInt32} = 0, NULL, toDecimal32(if(number = 1234, 99, "
        "10 * sin(number / 300)), 3)), "
        "toDecimal32(number % 100, 3), NULL, 'active' FROM numbers({count:UInt64})",
        parameters={"device": DEVICE, "start": BASE_MS, "count": seconds, "missing": missing},
    )


def lttb(points: list[Point], count: int) -> list[Point]:
    """The algorithm as Steinarsson's thesis describes it, with buckets of equal size."""
    if len(points) <= count:
        return points
    size = (len(points) - 2) / (count - 2)
    edges = [1 + math.floor(size * number) for number in range(count - 1)]
    buckets = [points[start:end] for start, end in pairwise(edges)]
    kept = [points[0]]
    for bucket, following in pairwise([*buckets, [points[-1]]]):
        x, y = (sum(axis) / len(following) for axis in zip(*following, strict=True))
        ax, ay = kept[-1]
        kept.append(max(bucket, key=lambda p: abs((ax - x) * (p[1] - ay) - (ax - p[0]) * (y - ay))))
    return [*kept, points[-1]]


def xy(points: list[dict[str, Any]], name: str = "value") -> list[Point]:
    return [(datetime.fromisoformat(one["timestamp"]).timestamp(), one[name]) for one in points]


async def test_a_chart_keeps_ends_extremes_and_the_shape_and_no_more_points_than_asked(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await fill(sql, 3_600)
    everything = await http.get(HISTORY, params={**HOUR, "limit": 3_600, "order": "oldest"})
    line = [(x, y) for x, y in xy(everything.json()["items"], "temperature") if y is not None]
    assert len(line) == 3_085
    for count in (3, 10, 100, 999, 5_000):
        answer = await http.get(
            HISTORY,
            params={**HOUR, "resolution": "raw", "max_points": count, "order": "oldest"},
        )
        chart = answer.json()
        assert (chart["resolution"], chart["max_points"]) == ("raw", count)
        assert set(chart["series"]) == {"temperature", "humidity", "pressure"}
        assert chart["series"]["pressure"] == []
        kept = xy(chart["series"]["temperature"])
        assert len(kept) == min(count, len(line))
        assert set(kept) <= set(line)
        assert kept == sorted(kept)
        assert (kept[0], kept[-1]) == (line[0], line[-1])
        assert max(y for _, y in kept) == 99
        assert len(chart["series"]["humidity"]) == min(count, 3_600)


async def test_the_points_of_a_chart_are_those_of_the_published_algorithm(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await fill(sql, 3_600)
    everything = await http.get(HISTORY, params={**HOUR, "limit": 3_600, "order": "oldest"})
    line = [(x, y) for x, y in xy(everything.json()["items"], "temperature") if y is not None]
    answer = await http.get(HISTORY, params={**HOUR, "resolution": "raw", "max_points": 200})
    kept = xy(answer.json()["series"]["temperature"])[::-1]
    expected = lttb(line, 200)
    # Where buckets end is rounded; a point may fall on the other side.
    assert len(set(kept) & set(expected)) >= 190


async def test_a_chart_of_minutes_tells_of_each_what_it_was(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await fill(sql, 3_600)
    asked: dict[str, Any] = {
        **HOUR,
        "resolution": "minute",
        "metric": "temperature",
        "order": "oldest",
    }
    page = (await http.get(HISTORY, params=asked)).json()
    minutes = {item["timestamp"]: item["temperature"] for item in page["items"]}
    assert (len(minutes), page["items"][0]["readings"]) == (60, 60)
    chart = (await http.get(HISTORY, params={**asked, "max_points": 20})).json()
    points = chart["series"]["temperature"]
    assert len(points) == 20
    for point in points:
        assert minutes[point.pop("timestamp")] == point
    assert max(point["max"] for point in points) == 99


async def test_a_resolution_is_chosen_that_fills_the_chart_and_is_said(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    for days, points, resolution in (
        (0.5, 1_000, "raw"), (1, 1_000, "minute"), (30, 500, "hour"), (365, 300, "day"),
        (1, 24, "hour"), (4_000, 10_000, "day"),
    ):  # fmt: skip
        end = BASE_MS
        span = {"from": end - int(days * 86_400_000), "to": end}
        answer = await http.get(HISTORY, params={**span, "max_points": points})
        assert answer.json()["resolution"] == resolution, (days, points)
    assert (await http.get(HISTORY, params={"resolution": "auto"})).json()["max_points"] == 1_000


def test_a_chart_never_reads_more_than_sixty_times_its_points() -> None:
    limits = dict.fromkeys(Resolution, 40_000)
    for minutes in (1, 59, 600, 1_440, 10_000, 100_000, 10**6, 10**7):
        for points in (3, 100, 1_000, 10_000):
            span = Span(0, minutes * 60_000)
            chosen = choose(span, points, limits)
            seconds = {"raw": 1, "minute": 60, "hour": 3_600, "day": 86_400}[chosen]
            assert minutes * 60 / seconds <= 60 * max(points, minutes / 1_440 / 60)


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("resolution", ["raw", "minute"])
async def test_pages_joined_are_the_whole_span(
    http: httpx.AsyncClient, sql: Any, order: str, resolution: str
) -> None:
    await fill(sql, 600)
    asked = {"from": BASE_MS + 500, "to": BASE_MS + 400_000}
    parameters: dict[str, Any] = {**asked, "resolution": resolution, "order": order}
    whole = (await http.get(HISTORY, params=parameters)).json()["items"]
    assert len(whole) == {"raw": 399, "minute": 7}[resolution]
    found, page = [], (await http.get(HISTORY, params={**parameters, "limit": 3})).json()
    while True:
        found += page["items"]
        assert page["truncated"] is (page["next"] is not None)
        if page["next"] is None:
            break
        page = (await http.get(HISTORY, params={"cursor": page["next"], "limit": 3})).json()
        assert (page["order"], page["resolution"]) == (order, resolution)
    assert found == whole


async def test_minutes_come_whole_although_the_span_cuts_through_them(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await fill(sql, 180)
    span: dict[str, Any] = {"from": BASE_MS + 90_000, "to": BASE_MS + 130_000}
    answer = (await http.get(HISTORY, params={**span, "resolution": "minute"})).json()
    assert (answer["from"], answer["to"]) == (
        "2026-09-21T00:01:00.000Z",
        "2026-09-21T00:03:00.000Z",
    )
    assert [item["readings"] for item in answer["items"]] == [60, 60]


async def test_what_does_not_go_together_is_422(http: httpx.AsyncClient) -> None:
    cursor = "cmF3IDAgMSBuZXdlc3Qg"  # "raw 0 1 newest "
    wrong: list[dict[str, Any]] = [
        {"max_points": 100, "limit": 5}, {"max_points": 100, "cursor": cursor},
        {"resolution": "auto", "limit": 5}, {"cursor": cursor, "from": 5}, {"cursor": "x"},
        {"cursor": cursor, "resolution": "raw"}, {"cursor": "ä"}, {"max_points": 2},
        {"max_points": 10_001}, {"resolution": "week"}, {"resolution": "raw", "from": 0},
        {"resolution": "minute", "from": 0}, {"resolution": "minute'"}, {"cursor": "' OR 1=1 --"},
        {"cursor": "cmF3IDAgNDEwMjQ0NDgwMDAwMCBuZXdlc3Qg"},  # "raw 0 4102444800000 newest "
    ]  # fmt: skip
    for parameters in wrong:
        answer = await http.get(HISTORY, params=parameters)
        assert answer.status_code == 422, parameters
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await http.get(HISTORY, params={"cursor": cursor})).status_code == 404


async def test_an_unknown_device_has_no_history_in_any_form(http: httpx.AsyncClient) -> None:
    for parameters in ({}, {"resolution": "hour"}, {"max_points": 10}, {"resolution": "auto"}):
        assert (await http.get(HISTORY, params=parameters)).status_code == 404, parameters


async def test_a_device_that_measured_nothing_has_empty_statistics(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_reading(sql, 0, temperature=None)
    asked = {**HOUR, "resolution": "day", "metric": "temperature"}
    (item,) = (await http.get(HISTORY, params=asked)).json()["items"]
    empty = {"count": 0, "min": None, "max": None, "avg": None, "last": None}
    assert item == {"timestamp": "2026-09-21T00:00:00.000Z", "readings": 1, "temperature": empty}


async def running(sql: Any, words: str) -> int:
    """Returns how many queries with these words run in this test's database."""
    found = await sql.query(
        "SELECT count() FROM system.processes WHERE current_database = currentDatabase() "
        "AND position(query, {words:String}) > 0 AND position(query, 'system.processes') = 0",
        parameters={"words": words},
    )
    return int(found.result_rows[0][0])


async def wait_for(sql: Any, words: str, count: int) -> None:
    async with asyncio.timeout(20):
        while await running(sql, words) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
def section() -> dict[str, Any]:
    return {"query_seconds": 60, "query_rows": 10**12}


async def slow_down(sql: Any) -> None:
    """Makes `readings` a view that takes 50 s to read."""
    await sql.command("RENAME TABLE readings TO quick")
    await sql.command(
        "CREATE VIEW readings AS SELECT * FROM (SELECT * FROM quick UNION ALL "  # noqa: S608
        f"SELECT '{DEVICE}', fromUnixTimestamp64Milli(toInt64(number + sleepEachRow(0.05)), 'UTC'),"
        " 1, 1, 1, CAST('active', 'Enum8(''active'' = 0, ''error'' = 1, ''maintenance'' = 2)') "
        "FROM numbers(1000)) SETTINGS max_block_size = 50"
    )


MOMENT: Final[dict[str, Any]] = {"from": 0, "to": 1_000}
SLOW: Final[list[tuple[str, dict[str, Any]]]] = [
    (HISTORY, {**MOMENT, "resolution": "raw"}),
    (HISTORY, {**MOMENT, "resolution": "raw", "max_points": 10, "metric": "humidity"}),
    ("/api/v1/export", MOMENT),
]


async def test_a_client_that_goes_away_takes_its_query_with_it(
    served: httpx.AsyncClient, sql: Any
) -> None:
    await slow_down(sql)
    for path, parameters in SLOW:
        asking = asyncio.create_task(served.get(path, params=parameters))
        await wait_for(sql, "FINAL", 1)
        await asyncio.sleep(0.3)
        assert await running(sql, "FINAL") == 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await wait_for(sql, "FINAL", 0)


@pytest.mark.parametrize("section", [{"query_seconds": 1}])
async def test_a_query_that_takes_too_long_is_cancelled_and_503(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await slow_down(sql)
    for path, parameters in SLOW:
        answer = await http.get(path, params=parameters)
        assert answer.status_code == 503, path
        assert await running(sql, "FINAL") == 0


async def test_with_clickhouse_away_there_is_no_history(
    http: httpx.AsyncClient, lines: Lines
) -> None:
    await lines.clickhouse.cut()
    for parameters in ({}, {"resolution": "hour"}, {"max_points": 10}):
        assert (await http.get(HISTORY, params=parameters)).status_code == 503


@pytest.mark.parametrize("section", [{"query_rows": 1_000}])
async def test_a_history_that_would_read_too_many_rows_is_422_and_says_what_to_ask_for(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await fill(sql, 20_000)
    answer = await http.get(HISTORY, params={**HOUR, "max_points": 100, "resolution": "raw"})
    assert answer.status_code == 422
    assert "ask for a shorter span or a coarser resolution" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_too_large_does_not_matter_to_a_route_that_reads_none(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0)
    answer = await http.request("GET", HISTORY, params=HOUR, content=b" " * 200_000)
    assert (answer.status_code, len(answer.json()["items"])) == (200, 1)
