"""The audit itself: the ledger against ClickHouse and, for what is missing there, Kafka.

The order makes it right on a system that runs. First comes the offset up to which everything is
delivered, so all before it is stored; then the ledger, whose readings Kafka had before; then
ClickHouse; and last the end of the topic. A reading of the ledger that ClickHouse does not have
is between the two offsets, or among the dead letters, or lost.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from clickhouse_connect.driver.asyncclient import AsyncClient

from sensor_local.audit.balance import (
    MINUTE_MS,
    NO_KEYS,
    Copies,
    Counts,
    Expected,
    Settled,
    duplicated,
    settle,
)
from sensor_local.audit.elsewhere import Elsewhere, Kafka, Sightings, committed
from sensor_local.audit.result import Audit
from sensor_local.audit.stored import Stored
from sensor_producer.account import Account, Minute, Run, read_ledger
from sensor_producer.ledger import FLUSH_S
from sensor_producer.totals import Totals
from sensor_shared.contracts.events import rfc3339

_AT_ONCE = 1_000_000
"""Pairs of device and minute that one query asks for: some 20 MB."""


async def audit(ledger: Path, client: AsyncClient, kafka: Kafka, since_ms: int) -> Audit:
    """Accounts for every reading of the runs that began at `since_ms` (epoch ms) or later.

    Readings are compared per device and minute of their own time, by number and checksum.
    Minutes are compared as a whole, with what earlier runs have in them.

    Raises:
        ClickHouseError, OSError: when ClickHouse does not answer.
        KafkaException: when Kafka does not answer.
    """
    at = rfc3339(datetime.now(UTC))
    delivered = await asyncio.to_thread(committed, kafka.settings)
    with tempfile.TemporaryDirectory(prefix="sensor-audit-") as folder:
        elsewhere = Elsewhere(kafka, delivered, Path(folder))
        return await _Audit(read_ledger(ledger), since_ms, client, elsewhere).run(at)


class _Audit:
    def __init__(self, account: Account, since_ms: int, client: AsyncClient, elsewhere: Elsewhere):
        self._account = account
        self._runs = [run for run in account.runs if run.started_ms >= since_ms]
        self._stored = Stored(client, account.device_ids)
        self._elsewhere = elsewhere
        self._seen: tuple[Sightings, Sightings] | None = None
        self._totals = Totals()
        self._repeated: dict[int, int] = {}
        self._open: list[Expected] = []
        self._rolled: dict[int, Counts] = {}
        self._rolled_twice = 0
        self._copies: list[Copies] = []

    async def run(self, at: str) -> Audit:
        minutes = sorted({start for run in self._runs for start in self._account.minutes_of(run)})
        for chunk in _chunks(minutes, max(1, _AT_ONCE // max(1, len(self._account.device_ids)))):
            await self._look(chunk)
        found = sum([await self._settle(expected) for expected in self._open], Settled())
        rejects = await self._settle_rejects()
        totals = self._totals
        return Audit(
            received=totals.acknowledged,
            stored=totals.distinct - found.dead_lettered - found.in_flight - found.lost,
            duplicate=totals.repeated,
            rejected=rejects.stored,
            dead_lettered=found.dead_lettered + rejects.dead_lettered,
            in_flight=found.in_flight + rejects.in_flight,
            lost=found.lost + rejects.lost,
            duplicated=await self._duplicated() + self._rolled_twice,
            different=found.different,
            runs=len(self._runs),
            minutes=len(minutes),
            at=at,
        )

    async def _look(self, chunk: Sequence[int]) -> None:
        """Finds the device minutes whose rows are not exactly those of the ledger, once each."""
        expected = [self._read(start_ms) for start_ms in chunk]
        first = chunk[0]
        span = (chunk[-1] - first) // MINUTE_MS + 1
        # Rollups first: what they count lies in the table that is read after them.
        rolled = await self._stored.rolled(first, span)
        rows = await self._stored.device_minutes(first, span)
        for minute in expected:
            place = (minute.start_ms - first) // MINUTE_MS
            other = (rows.rows[place] != minute.count) | (rows.checksum[place] != minute.checksum)
            over = np.maximum(rolled[place] - minute.count, 0)
            self._rolled_twice += int(over[~other].sum())
            if other.any():
                self._rolled[minute.start_ms] = rolled[place][other]
                position = np.flatnonzero(other)
                self._open.append(
                    Expected(
                        minute.start_ms,
                        position,
                        minute.count[position].astype(np.int64),
                        minute.checksum[position],
                    )
                )

    def _read(self, start_ms: int) -> Minute:
        """Reads a minute of the ledger, once, and adds up its totals."""
        minute = self._account.minute(start_ms)
        for run in self._runs:
            self._totals += minute.by_run.get(run.name, Totals())
        self._repeated[start_ms] = minute.totals.repeated
        return minute

    async def _settle(self, expected: Expected) -> Settled:
        start_ms = expected.start_ms
        rows = await self._stored.readings(start_ms, expected.position)
        there = expected.tally(rows.keys)
        over = np.maximum(self._rolled.pop(start_ms) - there, 0)
        answered = await self._stored.answered(start_ms, rows.copied)
        self._copies.append(Copies(expected, there, rows.copies, answered))
        self._rolled_twice += int(over.sum())
        found = settle(expected, rows.keys, NO_KEYS, NO_KEYS)
        if found.lost == found.different == 0:
            return found
        dead, flight = await self._look_elsewhere()
        return settle(expected, rows.keys, dead.keys.read(start_ms), flight.keys.read(start_ms))

    async def _look_elsewhere(self) -> tuple[Sightings, Sightings]:
        """Reads Kafka, when it is needed for the first time."""
        if self._seen is None:
            self._seen = await asyncio.to_thread(
                self._elsewhere.look,
                self._account.device_ids,
                _sources(self._runs),
                [expected.start_ms for expected in self._open],
            )
        return self._seen

    async def _settle_rejects(self) -> Settled:
        """Says where the readings are that are expected among the rejects."""
        invalid = self._totals.invalid
        sources = _sources(self._runs)
        since_ms = min((run.started_ms for run in self._runs), default=0)
        if await self._stored.rejected(sources, since_ms) >= invalid:
            return Settled(stored=invalid)
        places = await self._look_elsewhere()
        absent = []
        for place in places:
            kept = await self._stored.rejected_of_events(sources, place.began_ms)
            absent.append(
                sum(max(0, count - kept.get(id_, 0)) for id_, count in place.rejects.items())
            )
        stored = min(invalid, await self._stored.rejected(sources, since_ms))
        dead = min(invalid - stored, absent[0])
        flight = min(invalid - stored - dead, absent[1])
        return Settled(stored, dead, flight, lost=invalid - stored - dead - flight)

    async def _duplicated(self) -> int:
        suspicious = duplicated(self._copies, self._repeated, frozenset())
        if not suspicious:
            return 0
        # What was sent twice may be stored before the ledger says so.
        await asyncio.sleep(2 * FLUSH_S)
        gaps = set()
        for one in self._copies:
            minute = self._account.minute(one.expected.start_ms)
            self._repeated[minute.start_ms] = minute.totals.repeated
            if one.surplus(minute.count):
                gaps.add(minute.start_ms)
        return duplicated(self._copies, self._repeated, gaps)


def _sources(runs: Sequence[Run]) -> list[str]:
    return [f"urn:twinup:producer:{run.name}" for run in runs]


def _chunks(minutes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Cuts minutes into stretches of at most `most` minutes, gaps included."""
    chunk: list[int] = []
    for start_ms in minutes:
        if chunk and start_ms - chunk[0] >= most * MINUTE_MS:
            yield chunk
            chunk = []
        chunk.append(start_ms)
    if chunk:
        yield chunk
