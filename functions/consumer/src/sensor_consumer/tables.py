"""Writes a group of deliveries to ClickHouse: readings, rejects, and devices that are new."""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from sensor_consumer import rows
from sensor_consumer.delivery import Delivery
from sensor_consumer.devices import KnownDevices
from sensor_consumer.minutes import StoredMinutes
from sensor_consumer.ports import Queries
from sensor_consumer.stored import StoredRows
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.telemetry import metrics


class TablesDatabase(Queries, Protocol):
    """What this needs of `adapters.database.Database`."""

    async def insert_block(
        self, table: str, columns: Sequence[str], block: bytes, *, fmt: str, token: str
    ) -> None:
        """Returns when ClickHouse has acknowledged the rows."""


class Tables:
    """The consumer's three tables.

    An insert of rejects costs as much as one of readings, and a few devices that fail would double
    the number of inserts. So rejects are written seldom, many together.

    Each insert of a group carries the token of the group, so that the same group again, after
    an answer that was lost, adds nothing to those tables that have it.
    """

    def __init__(self, database: TablesDatabase, devices: KnownDevices, *, rejects_interval: float):
        self._database = database
        self._devices = devices
        self._rejects_interval = rejects_interval
        self._next_rejects = 0.0
        self._keep = GroupCommit(self._insert_rejects)
        self._stored = StoredRows(database, StoredMinutes(database))

    async def without_stored(
        self, old: Sequence[Delivery], doubtful: Sequence[Delivery]
    ) -> list[Delivery]:
        """Returns the deliveries without the rows that ClickHouse has already.

        Args:
            old: as in `group.Group`.
            doubtful: as there.

        Raises:
            DatabaseAwayError, ClickHouseError: as `write`.
        """
        rest = await self._stored.leave_out(old, doubtful)
        deliveries = [*old, *doubtful]
        # Whoever stored them may not have lived to tell of their devices.
        changed = self._devices.changed(pa.concat_batches([item.batch for item in deliveries]))
        if changed.num_rows:
            token = rows.token([item.key for item in deliveries])
            await self._insert(rows.devices(changed), token)
            self._devices.remember(changed)
        return rest

    async def write(self, group: Sequence[Delivery], token: str) -> pa.RecordBatch:
        """Stores the readings of a group; returns them, joined, when ClickHouse has them all.

        Args:
            group: at least one delivery, each with readings.
            token: of the events for which this insert was made; when some of their rows were
                left out because they are stored, it stays the same.

        Raises:
            DatabaseAwayError: when ClickHouse cannot answer now; a part may be stored.
            ClickHouseError: when it refuses the rows.
        """
        batch = pa.concat_batches([delivery.batch for delivery in group])
        changed = self._devices.changed(batch)
        if not changed.num_rows:
            await self._insert(rows.readings(batch), token)
            return batch
        results = await asyncio.gather(
            self._insert(rows.readings(batch), token),
            self._insert(rows.devices(changed), token),
            return_exceptions=True,
        )
        for result in results:
            if result is not None:
                raise result
        self._devices.remember(changed)
        return batch

    async def keep(self, deliveries: Sequence[Delivery]) -> None:
        """Stores the rejects of deliveries, together with those of others.

        It may take twice the interval: one group waits while the one before it is written.

        Raises:
            DatabaseAwayError, ClickHouseError: as `write`.
        """
        results = await asyncio.gather(
            *(self._keep(delivery) for delivery in deliveries), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _insert_rejects(self, deliveries: Sequence[Delivery]) -> list[None]:
        await asyncio.sleep(self._next_rejects - time.monotonic())
        self._next_rejects = time.monotonic() + self._rejects_interval
        block = rows.rejects(deliveries)
        await self._insert(block, rows.token([delivery.key for delivery in deliveries]))
        return [None] * len(deliveries)

    async def _insert(self, block: rows.Block, token: str) -> None:
        started = time.perf_counter()
        await self._database.insert_block(
            block.table, block.columns, block.data, fmt=rows.FORMAT, token=token
        )
        metrics.INSERT_LATENCY.labels(block.table).observe((time.perf_counter() - started) * 1000)
