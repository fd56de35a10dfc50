"""Millions of readings through the gateway as a process of its own, in memory that is bounded."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from sensor_shared.testing.parts import Lines

from .conftest import BASE_MS, Caller, Issuer

pytestmark = pytest.mark.integration
ROOT: Final = Path(__file__).parents[3]
EXPORT: Final = "/api/v1/export"
DEVICES: Final = 1_000
MIB: Final = 2**20


@pytest.fixture
async def process(
    lines: Lines, issuer: Issuer, tmp_path: Path
) -> AsyncIterator[tuple[psutil.Process, str]]:
    """The gateway as `make run` starts it, and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    sections = {
        **lines.sections,
        "jwks": {"url": issuer.url},
        "server": {"port": port},
        "logger": {"level": "warning"},
    }
    environ = {
        f"TWINUP_{section}_{key}".upper(): str(value)
        for section, values in sections.items()
        for key, value in values.items()
    }
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "sensor_shared.runtime", "functions/gateway"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **environ},
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        await _ready(url)
        yield psutil.Process(started.pid), url
    finally:
        started.terminate()
        started.wait(20)


async def _ready(url: str) -> None:
    deadline = time.monotonic() + 30
    async with httpx.AsyncClient() as client:
        while time.monotonic() < deadline:
            try:
                parts = (await client.get(f"{url}/api/v1/health")).json()["parts"]
                if parts["redis"] == parts["clickhouse"] == "up":
                    return  # alerts are no part of an export
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("the gateway did not start")


async def fill(sql: Any, readings: int) -> None:
    await sql.command(
        "INSERT INTO readings SELECT concat('d', leftPad(toString(number % {devices:UInt32}), 6, "
        "'0')), fromUnixTimestamp64Milli({start:Int64} + 1000 * intDiv(number, {devices:UInt32})), "
        "if(number % 7 = 0, NULL, toDecimal32(number % 8000 / 1000, 3)), "
        "toDecimal32(number % 100 + 0.125, 3), NULL, number % 3 FROM numbers({count:UInt64})",
        parameters={"devices": DEVICES, "start": BASE_MS, "count": readings},
    )


@pytest.mark.parametrize(("form", "clickhouse"), [("csv", "CSVWithNames"), ("parquet", "Parquet")])
async def test_millions_of_readings_are_those_of_the_table_in_memory_that_does_not_grow(
    process: tuple[psutil.Process, str],
    sql: Any,
    caller: Caller,
    tmp_path: Path,
    *,
    form: str,
    clickhouse: str,
) -> None:
    await fill(sql, 3_000_000)
    gateway, url = process
    headers = {"Authorization": f"Bearer {await caller.token('readonly')}"}
    file = tmp_path / f"export.{form}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:

        async def export(seconds: int) -> int:
            """Writes so many readings of each device to the file; returns the process's peak."""
            span = {"from": BASE_MS, "to": BASE_MS + seconds * 1_000}
            with file.open("wb") as output:
                asked: dict[str, Any] = {**span, "format": form}
                async with client.stream("GET", EXPORT, params=asked) as answer:
                    assert answer.status_code == 200
                    async for part in answer.aiter_bytes():
                        output.write(part)
            return _peak(gateway)

        peak_of_a_part = await export(1_000)
        peak_of_all = await export(3_000)
    # What allocators keep for each thread grows for a while. Two million readings more, held
    # whole, would take 120 MB more, in text as in Arrow's form.
    assert peak_of_all - peak_of_a_part < 40 * MIB
    await sql.command("CREATE TABLE copy AS readings")
    await sql.raw_insert("copy", insert_block=file.read_bytes(), fmt=clickhouse)
    sums = [
        (
            await sql.query(
                "SELECT count(), sum(cityHash64(device_id, timestamp, temperature, humidity, "  # noqa: S608
                f"pressure, status)), groupBitXor(cityHash64(*)) FROM {table} FINAL"
            )
        ).result_rows
        for table in ("readings", "copy")
    ]
    assert sums[0] == sums[1]
    assert sums[0][0][0] == 3_000_000


def _peak(process: psutil.Process) -> int:
    """Returns the most memory that a process ever had, bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (one for one in status.splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1_024
