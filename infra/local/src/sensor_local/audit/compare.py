"""Compares the ledger, minute by minute, with what ClickHouse holds."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_local.audit.result import Audit, UnknownError
from sensor_producer.account import Account, Minute, Run, read_ledger
from sensor_producer.checksum import CHECKSUM_SQL
from sensor_producer.ledger import Page
from sensor_producer.totals import Totals
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.contracts.events import rfc3339
from sensor_shared.runtime.settings import Settings

_MINUTE_MS = 60_000

_STORED = f"""
SELECT device_id, count() AS readings, {CHECKSUM_SQL} AS checksum
FROM (
    SELECT DISTINCT device_id, timestamp FROM readings
    WHERE timestamp >= fromUnixTimestamp64Milli({{begin:Int64}})
      AND timestamp < fromUnixTimestamp64Milli({{end:Int64}})
)
GROUP BY device_id
"""  # noqa: S608 - no input in it

_REJECTED = """
SELECT count() FROM (
    SELECT DISTINCT source, event_id, position FROM rejects
    WHERE source IN {sources:Array(String)}
)
"""


class AuditSettings(Settings):
    """Where the audit asks."""

    clickhouse: ClickHouseSettings = ClickHouseSettings()
    kafka: KafkaSettings = KafkaSettings()


async def run_audit(settings: AuditSettings, ledger: Path, since_ms: int) -> Audit:
    """Audits a system by its settings: see `audit`.

    Raises:
        UnknownError: when a part does not answer.
    """
    try:
        client = await connect(settings.clickhouse)
    except (ClickHouseError, OSError) as error:
        raise UnknownError(f"ClickHouse does not answer: {str(error)[:300]}") from error
    try:
        return await audit(ledger, client, since_ms)
    except (ClickHouseError, OSError) as error:
        raise UnknownError(f"ClickHouse does not answer: {str(error)[:300]}") from error
    finally:
        await client.close()


async def audit(ledger: Path, client: AsyncClient, since_ms: int) -> Audit:
    """Accounts for every reading of the runs that began at `since_ms` (epoch ms) or later.

    Readings are compared per device and minute of their own time, by number and checksum.
    Minutes are compared as a whole, with what earlier runs have in them.
    """
    now = datetime.now(UTC)
    account = read_ledger(ledger)
    runs = [run for run in account.runs if run.started_ms >= since_ms]
    totals, minutes = Totals(), set[int]()
    for run in runs:
        for page in (ledger / run.name).glob("*.npz"):
            totals += Page.read(page).totals
            minutes.add(int(page.stem) * _MINUTE_MS)
    missing = different = 0
    for start_ms in sorted(minutes):
        short, other = await _compare(account, account.minute(start_ms), client)
        missing += short
        different += other
    rejected = await _rejected(client, runs)
    return Audit(
        received=totals.acknowledged,
        stored=totals.distinct - missing,
        duplicate=totals.repeated,
        rejected=min(rejected, totals.invalid),
        dead_lettered=0,
        in_flight=0,
        lost=missing + max(0, totals.invalid - rejected),
        duplicated=0,
        different=different,
        runs=len(runs),
        minutes=len(minutes),
        at=rfc3339(now),
    )


async def _compare(account: Account, minute: Minute, client: AsyncClient) -> tuple[int, int]:
    """Returns the readings that are missing, and the devices whose readings are others."""
    parameters = {"begin": minute.start_ms, "end": minute.start_ms + _MINUTE_MS}
    rows = (await client.query(_STORED, parameters=parameters)).result_rows
    positions = {device: position for position, device in enumerate(account.device_ids)}
    count = np.zeros(len(positions), np.int64)
    checksum = np.zeros(len(positions), np.uint64)
    for device, readings, found in rows:
        if (position := positions.get(device)) is not None:
            count[position], checksum[position] = readings, found
    expected = minute.count.astype(np.int64)
    # More than the ledger has is no loss: Kafka may have taken what it did not acknowledge.
    missing = int(np.maximum(expected - count, 0).sum())
    different = int(((expected == count) & (minute.checksum != checksum)).sum())
    return missing, different


async def _rejected(client: AsyncClient, runs: list[Run]) -> int:
    sources = [f"urn:twinup:producer:{run.name}" for run in runs]
    rows = (await client.query(_REJECTED, parameters={"sources": sources})).result_rows
    return int(rows[0][0])
