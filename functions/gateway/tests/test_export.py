"""Exports: whole, exact, resumable, bounded in memory, and cut where they are not whole."""

import asyncio
import csv
import io
import json
import random
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sensor_shared.testing.parts import Lines

from .conftest import BASE_MS, DEVICE, add_devices, add_reading

pytestmark = pytest.mark.integration
EXPORT: Final = "/api/v1/export"
DAY: Final[dict[str, Any]] = {"from": BASE_MS, "to": BASE_MS + 86_400_000}
COLUMNS: Final = ["device_id", "timestamp", "temperature", "humidity", "pressure", "status"]


async def fill(sql: Any, devices: int, seconds: int, *, start_ms: int = BASE_MS) -> None:
    """Stores a reading a second of each device; some values are missing, some rows come twice."""
    for twice in (1, 10):
        await sql.command(
            "INSERT INTO readings SELECT 'd' || toString(number % {devices:UInt32}), "
            "fromUnixTimestamp64Milli({start:Int64} + 1000 * intDiv(number, {devices:UInt32})), "
            "if(number % 7 = 0, NULL, toDecimal32(number % 1000 / 8, 3)), "
            "toDecimal32(number % 100, 3), NULL, number % 3 FROM numbers({count:UInt64}) "
            "WHERE number % {twice:UInt8} = 0",
            parameters={
                "devices": devices,
                "start": start_ms,
                "count": devices * seconds,
                "twice": twice,
            },
        )


async def answered(client: httpx.AsyncClient, parameters: dict[str, Any]) -> httpx.Response:
    """Asks until there is an answer."""
    async with asyncio.timeout(20):
        while True:
            answer = await client.get(EXPORT, params=parameters)
            if not answer.is_error:
                return answer
            await asyncio.sleep(0.05)


async def whole_table(sql: Any) -> list[list[Any]]:
    answer = await sql.query(
        "SELECT device_id, toUnixTimestamp64Milli(timestamp), temperature, humidity, pressure, "
        "status FROM readings FINAL ORDER BY device_id, timestamp"
    )
    return [list(row) for row in answer.result_rows]


def from_csv(text: str) -> list[list[Any]]:
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == COLUMNS
    return [
        [device, _ms(at), *(None if value == "" else Decimal(value) for value in values), status]
        for device, at, *values, status in rows[1:]
    ]


def from_ndjson(text: str) -> list[list[Any]]:
    objects = [
        json.loads(line, parse_float=Decimal, parse_int=Decimal)
        for line in text.split("\n")
        if line
    ]
    assert all(list(one) == COLUMNS for one in objects)
    return [[one["device_id"], _ms(one["timestamp"]), *list(one.values())[2:]] for one in objects]


def from_parquet(body: bytes) -> list[list[Any]]:
    table = pq.read_table(io.BytesIO(body))
    assert table.schema.names == COLUMNS
    assert table.schema.field("temperature").type == pa.decimal128(9, 3)
    assert table.schema.field("timestamp").type == pa.timestamp("ms", "UTC")
    ms = table.column("timestamp").cast(pa.int64())
    columns = [table.column("device_id"), ms, *table.columns[2:]]
    return [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


LARGER: Final = pytest.mark.parametrize("section", [{"export_chunk_rows": 5_000}])


@pytest.fixture
def section() -> dict[str, Any]:
    """Small chunks: what holds of many of them shows with few readings."""
    return {"export_chunk_rows": 100}


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
async def test_an_export_is_the_table_each_moment_once_and_exact(
    http: httpx.AsyncClient, sql: Any, form: str
) -> None:
    await fill(sql, devices=7, seconds=99)
    answer = await http.get(EXPORT, params={**DAY, "format": form})
    assert answer.status_code == 200
    found = {
        "csv": lambda: from_csv(answer.text),
        "ndjson": lambda: from_ndjson(answer.text),
        "parquet": lambda: from_parquet(answer.content),
    }[form]()
    assert len(found) == 693
    assert found == await whole_table(sql)
    name = f'attachment; filename="readings-20260921T000000Z-20260922T000000Z.{form}"'
    assert answer.headers["content-disposition"] == name


@pytest.mark.parametrize("form", ["csv", "ndjson"])
async def test_a_file_that_was_cut_anywhere_goes_on_behind_its_last_whole_row(
    http: httpx.AsyncClient, sql: Any, form: str
) -> None:
    await fill(sql, devices=3, seconds=111)
    whole = (await http.get(EXPORT, params={**DAY, "format": form})).content
    dice = random.Random(1)  # noqa: S311
    head = len(",".join(COLUMNS)) + 1 if form == "csv" else 0
    first_row = whole.index(b"\n", head) + 1
    for cut in [first_row, len(whole) - 1, *(dice.randrange(first_row, len(whole)) for _ in "123")]:
        came = whole[: whole.rindex(b"\n", 0, cut) + 1]
        last = came.splitlines()[-1].decode()
        device, at = (
            next(csv.reader([last]))[:2] if form == "csv" else list(json.loads(last).values())[:2]
        )
        self_ = (await http.get(EXPORT, params={**DAY, "format": form})).links["self"]["url"]
        rest_ = await http.get(f"{self_}&after={device},{at}")
        assert came + rest_.content == whole


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("limit", [50, 100, 110, 330, 331])
async def test_parts_joined_are_the_whole(
    http: httpx.AsyncClient, sql: Any, form: str, limit: int
) -> None:
    await fill(sql, devices=3, seconds=110)
    asked: dict[str, Any] = {**DAY, "format": form}
    url = str(httpx.URL(EXPORT, params={**asked, "limit": limit}))
    parts = []
    while url:
        answer = await http.get(url)
        parts.append(answer.content)
        url = answer.links.get("next", {}).get("url", "")
    assert len(parts) == -(-330 // limit)
    whole = (await http.get(EXPORT, params=asked)).content
    if form == "parquet":
        found = [row for part in parts for row in from_parquet(part)]
        assert found == from_parquet(whole)
        assert len(from_parquet(parts[0])) == min(limit, 330)
    else:
        assert b"".join(parts) == whole


async def test_an_export_of_nothing_is_an_empty_file(http: httpx.AsyncClient) -> None:
    answers = {
        form: await http.get(EXPORT, params={**DAY, "format": form})
        for form in ("csv", "ndjson", "parquet")
    }
    assert answers["csv"].text == ",".join(COLUMNS) + "\n"
    assert answers["ndjson"].content == b""
    assert from_parquet(answers["parquet"].content) == []


async def test_filters_and_metrics_say_what_is_exported(http: httpx.AsyncClient, sql: Any) -> None:
    for device, region in (("a", "north"), ("b", "north"), ("c", "south")):
        await add_devices(sql, device, region=region)
        for second in range(3):
            await add_reading(sql, second * 1_000, device=device)

    async def exported(**parameters: Any) -> list[str]:
        answer = await http.get(EXPORT, params={**DAY, "metric": "humidity", **parameters})
        head, *rows = answer.text.splitlines()
        assert head == "device_id,timestamp,humidity,status"
        return [row.split(",")[0].strip('"') for row in rows]

    assert await exported() == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert await exported(device_id=["a", "c", "z"]) == ["a"] * 3 + ["c"] * 3
    assert await exported(region="north", device_id=["b", "c"]) == ["b"] * 3
    assert await exported(region=["south", "north"], type="weather_station") == await exported()
    assert await exported(type="industrial_sensor") == []
    assert await exported(**{"from": BASE_MS + 1_000, "to": BASE_MS + 2_000}) == ["a", "b", "c"]


async def test_sql_in_a_parameter_is_a_name_that_nothing_has(
    http: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0)
    for text in ("x') OR 1=1 --", "'; DROP TABLE readings", "{p0:String}", "\\", "%", "north' "):
        for name in ("region", "type"):
            answer = await http.get(EXPORT, params={**DAY, name: text})
            assert answer.text.splitlines() == [",".join(COLUMNS)], text
        wrong: list[dict[str, Any]] = [
            {"device_id": text}, {"after": text}, {"after": f"{DEVICE},{text}"}, {"format": text},
            {"metric": text}, {"limit": text}, {"after": f"{text},2026-09-21T00:00:00Z"},
        ]  # fmt: skip
        for parameters in wrong:
            assert (await http.get(EXPORT, params={**DAY, **parameters})).status_code == 422
    assert len(await whole_table(sql)) == 1


@LARGER
async def test_one_user_has_so_many_exports_at_a_time_and_gets_them_back(
    served: httpx.AsyncClient, sql: Any
) -> None:
    await fill(sql, devices=100, seconds=3_000)
    async with (
        served.stream("GET", EXPORT, params=DAY) as first,
        served.stream("GET", EXPORT, params=DAY) as second,
    ):
        assert (first.status_code, second.status_code) == (200, 200)
        third = await served.get(EXPORT, params=DAY)
        assert third.status_code == 429
        assert third.headers["retry-after"] == "10"
        assert third.headers["content-type"] == "application/problem+json"

    # Both went away in the middle of their files.
    await answered(served, {**DAY, "limit": 1})


@pytest.mark.parametrize("section", [{"export_chunk_rows": 50_000, "export_chunk_seconds": 1}])
async def test_who_hardly_reads_loses_the_slot(served: httpx.AsyncClient, sql: Any) -> None:
    await fill(sql, devices=100, seconds=3_000)
    async with (
        served.stream("GET", EXPORT, params=DAY),
        served.stream("GET", EXPORT, params=DAY) as second,
    ):
        assert (await served.get(EXPORT, params=DAY)).status_code == 429
        await asyncio.sleep(3)
        await answered(served, {**DAY, "limit": 1})
        with pytest.raises(httpx.RemoteProtocolError):
            await second.aread()


@LARGER
async def test_a_file_is_cut_when_clickhouse_stays_away(
    served: httpx.AsyncClient, sql: Any, lines: Lines
) -> None:
    await fill(sql, devices=100, seconds=3_000)
    came = b""
    with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012 - it may break at any part
        async with served.stream("GET", EXPORT, params=DAY) as answer:
            async for part in answer.aiter_bytes():
                if not came:
                    await lines.clickhouse.cut()
                came += part
    assert answer.status_code == 200
    assert b"Exception" not in came
    # What came is good, and another request goes on from there.
    await lines.clickhouse.mend()
    came = came[: came.rindex(b"\n") + 1]
    device, at, *_ = next(csv.reader([came.splitlines()[-1].decode()]))
    rest_ = await answered(served, {**DAY, "after": f"{device},{at}"})
    assert len(from_csv((came + rest_.content).decode())) == 300_000


@LARGER
async def test_a_file_goes_on_when_clickhouse_comes_back(
    served: httpx.AsyncClient, sql: Any, lines: Lines
) -> None:
    await fill(sql, devices=100, seconds=3_000)
    came = b""
    async with served.stream("GET", EXPORT, params=DAY) as answer:
        async for part in answer.aiter_bytes():
            if not came:
                await lines.clickhouse.cut()
                await asyncio.sleep(0.3)
                await lines.clickhouse.mend()
            came += part
    assert from_csv(came.decode()) == await whole_table(sql)


async def test_with_clickhouse_away_an_export_does_not_begin(
    http: httpx.AsyncClient, lines: Lines
) -> None:
    await lines.clickhouse.cut()
    assert (await http.get(EXPORT, params=DAY)).status_code == 503
