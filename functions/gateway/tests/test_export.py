"""Exports: whole, exact, resumable, bounded in memory, and cut where they are not whole."""

import asyncio
import csv
import hashlib
import io
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any, Final

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import BASE_MS, DEVICE, Caller, Issuer, add_devices, add_reading, until

pytestmark = pytest.mark.integration
EXPORT: Final = "/api/v1/export"
DAY: Final = {"from": BASE_MS, "to": BASE_MS + 86_400_000}
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
    objects = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in text.split("\n") if line]
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
    from datetime import datetime

    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture
def sections() -> dict[str, Any]:
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
