"""Compares what Kafka acknowledged to the producer with what ClickHouse holds.

`python -m sensor_local.audit --ledger DIR --since MS` prints one line and ends with status 1
when something is missing. It reads `TWINUP_CLICKHOUSE_*`.
"""

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clickhouse_connect.driver.asyncclient import AsyncClient

from sensor_producer.account import Account, Minute, Run, read_ledger
from sensor_producer.checksum import CHECKSUM_SQL
from sensor_producer.ledger import Page
from sensor_producer.totals import Totals
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect
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


@dataclass(frozen=True)
class Audit:
    """The account of one or more runs of the producer, in readings.

    acknowledged = stored + duplicate + rejected + missing
    """

    acknowledged: int
    stored: int
    duplicate: int
    rejected: int
    missing: int
    different: int
    """Pairs of device and minute with the right number of readings but other timestamps."""

    @property
    def good(self) -> bool:
        """Tells whether nothing is missing and nothing was changed."""
        return self.missing == 0 and self.different == 0

    def __str__(self) -> str:
        line = (
            f"audit: acknowledged {self.acknowledged:,} = stored {self.stored:,}"
            f" + duplicate {self.duplicate:,} + rejected {self.rejected:,}"
            f"; missing {self.missing:,}"
        )
        if self.different:
            line += f"; {self.different:,} device minutes hold other readings than were sent"
        return line


async def audit(ledger: Path, client: AsyncClient, since_ms: int) -> Audit:
    """Accounts for every reading of the runs that began at `since_ms` (epoch ms) or later.

    Readings are compared per device and minute of their own time, by number and checksum.
    Minutes are compared as a whole, with what earlier runs have in them.
    """
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
        acknowledged=totals.acknowledged,
        stored=totals.distinct - missing,
        duplicate=totals.repeated,
        rejected=min(rejected, totals.invalid),
        missing=missing + max(0, totals.invalid - rejected),
        different=different,
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


class AuditSettings(Settings):
    """What the command reads from its environment."""

    clickhouse: ClickHouseSettings = ClickHouseSettings()


async def _run(ledger: Path, since_ms: int) -> Audit:
    client = await connect(AuditSettings.load(os.environ).clickhouse)
    try:
        return await audit(ledger, client, since_ms)
    finally:
        await client.close()


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_local.audit", description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--since", type=int, default=0, help="epoch ms; earlier runs are left out")
    options = parser.parse_args()
    result = asyncio.run(_run(options.ledger, options.since))
    sys.stdout.write(f"{result}\n")
    sys.exit(0 if result.good else 1)


if __name__ == "__main__":
    main()
