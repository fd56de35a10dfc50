"""The audit finds every reading that is missing, changed or was rejected, and nothing else."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from pydantic import SecretStr

from sensor_local.audit import Audit
from sensor_local.audit.compare import audit
from sensor_local.testing import ClickHouseServer
from sensor_producer.account import read_ledger
from sensor_producer.checksum import scramble
from sensor_producer.ledger import Ledger, Page
from sensor_producer.totals import Totals
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect

pytestmark = pytest.mark.integration

DEVICES = ("sensor-1", "sensor-2", "sensor-3")
MINUTE = int(time.time()) // 60 - 10  # recent: the table lets old readings go
START_MS = MINUTE * 60_000
RUN = "0193"


@dataclass
class Fleet:
    """Three devices, five readings each in each of two minutes, all in the ledger."""

    ledger: Path
    settings: ClickHouseSettings
    client: AsyncClient

    @property
    def rows(self) -> list[tuple[str, int]]:
        return [
            (device, START_MS + minute * 60_000 + second * 1000)
            for device in DEVICES
            for minute in range(2)
            for second in range(5)
        ]

    async def store(self, rows: list[tuple[str, int]]) -> None:
        data = [
            [device, datetime.fromtimestamp(ms / 1000, UTC), 20.0, None, None, "active"]
            for device, ms in rows
        ]
        columns = ["device_id", "timestamp", "temperature", "humidity", "pressure", "status"]
        await self.client.insert("readings", data, column_names=columns)

    async def reject(self, count: int, source: str = f"urn:twinup:producer:{RUN}") -> None:
        now = datetime.now(UTC)
        data = [[now, source, "event-1", n, "bad", "", "sensor-1", "{}"] for n in range(count)]
        columns = [
            *("received_at", "source", "event_id", "position", "reason", "detail"),
            *("device_id", "raw"),
        ]
        await self.client.insert("rejects", data, column_names=columns)

    async def audit(self, since_ms: int = 0) -> Audit:
        return await audit(self.ledger, self.client, since_ms)


@pytest.fixture
async def fleet(tmp_path: Path, clickhouse_server: ClickHouseServer) -> AsyncIterator[Fleet]:
    settings = ClickHouseSettings(
        host=clickhouse_server.host,
        port=clickhouse_server.port,
        user=clickhouse_server.user,
        password=SecretStr(clickhouse_server.password),
        database=clickhouse_server.database(),
    )
    write_ledger(tmp_path / "ledger")
    client = await connect(settings)
    yield Fleet(tmp_path / "ledger", settings, client)
    await client.close()


def write_ledger(folder: Path) -> None:
    Ledger(folder, RUN, DEVICES, hours=48, clock_ms=lambda: START_MS).close(unacknowledged=0)
    for minute in range(2):
        stamps = np.arange(5, dtype=np.int64) * 1000 + START_MS + minute * 60_000
        page = Page(
            count=np.full(len(DEVICES), 5, np.uint32),
            checksum=np.full(len(DEVICES), scramble(stamps).sum(), np.uint64),
            # In the first minute two readings came twice and one is invalid.
            totals=Totals(18, 2, 1) if minute == 0 else Totals(15, 0, 0),
        )
        totals = np.array([page.totals.acknowledged, page.totals.repeated, page.totals.invalid])
        with (folder / RUN / f"{MINUTE + minute}.npz").open("wb") as file:
            np.savez(file, count=page.count, checksum=page.checksum, totals=totals)


async def test_everything_stored_once_is_a_good_account(fleet: Fleet) -> None:
    await fleet.store(fleet.rows)
    await fleet.store(fleet.rows[:2])
    await fleet.reject(1)
    found = await fleet.audit()
    assert (found.received, found.stored, found.duplicate, found.rejected) == (33, 30, 2, 1)
    assert found.good
    line = (
        "audit: received 33 = stored 30 + duplicate 2 + rejected 1 + dead-lettered 0"
        " + in flight 0; lost 0, duplicated 0"
    )
    assert str(found) == line
    assert read_ledger(fleet.ledger).totals().acknowledged == 33


async def test_each_missing_reading_is_counted(fleet: Fleet) -> None:
    await fleet.store(fleet.rows[:-4])
    await fleet.reject(1)
    found = await fleet.audit()
    assert (found.stored, found.lost, found.good) == (26, 4, False)
    assert found.received == found.stored + found.duplicate + found.rejected + found.lost


async def test_a_reading_with_another_time_is_seen_by_the_checksum(fleet: Fleet) -> None:
    device, ms = fleet.rows[-1]
    await fleet.store([*fleet.rows[:-1], (device, ms + 1)])
    await fleet.reject(1)
    found = await fleet.audit()
    assert (found.lost, found.different, found.good) == (0, 1, False)
    assert "1 device minutes hold other readings than were sent" in str(found)


async def test_a_reject_that_was_not_kept_is_missing(fleet: Fleet) -> None:
    await fleet.store(fleet.rows)
    await fleet.reject(3, source="urn:somebody:else")
    found = await fleet.audit()
    assert (found.rejected, found.lost) == (0, 1)


async def test_earlier_runs_are_left_out(fleet: Fleet) -> None:
    found = await fleet.audit(since_ms=START_MS + 1)
    assert (found.received, found.runs, found.minutes, found.good) == (0, 0, 0, True)


async def test_the_command_ends_with_status_1_when_something_is_missing(fleet: Fleet) -> None:
    await fleet.store(fleet.rows[1:])
    await fleet.reject(1)
    bad = command(fleet)
    assert bad.returncode == 1, bad.stderr
    assert bad.stdout.endswith("lost 1, duplicated 0\n")
    await fleet.store(fleet.rows[:1])
    good = command(fleet)
    assert good.returncode == 0, good.stderr
    assert good.stdout.endswith("lost 0, duplicated 0\n")


def command(fleet: Fleet) -> "subprocess.CompletedProcess[str]":
    environ = {
        "TWINUP_CLICKHOUSE_PORT": str(fleet.settings.port),
        "TWINUP_CLICKHOUSE_USER": fleet.settings.user,
        "TWINUP_CLICKHOUSE_PASSWORD": fleet.settings.password.get_secret_value(),
        "TWINUP_CLICKHOUSE_DATABASE": fleet.settings.database,
    }
    return subprocess.run(
        [sys.executable, "-m", "sensor_local.audit", "--ledger", str(fleet.ledger)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
