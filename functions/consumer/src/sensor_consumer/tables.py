"""Writes a group of deliveries to ClickHouse: readings, rejects, and devices that are new."""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from sensor_consumer import rows, stored
from sensor_consumer.delivery import Delivery
from sensor_consumer.devices import KnownDevices
from sensor_consumer.stored import Queries
from sensor_shared.telemetry import metrics


class TablesDatabase(Queries, Protocol):
    """What this needs of `adapters.database.Database`."""

    async def insert_block(
        self, table: str, columns: Sequence[str], block: bytes, *, fmt: str, token: str
    ) -> None:
        """Returns when ClickHouse has acknowledged the rows."""


class Tables:
    """The consumer's three tables.

    Each insert of a group carries the token of the group, so that the same group again, after
    an answer that was lost, adds nothing to those tables that have it.
    """

    def __init__(self, database: TablesDatabase, devices: KnownDevices):
        self._database = database
        self._devices = devices

    async def without_stored(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Returns the deliveries without the rows that ClickHouse has already.

        Raises:
            DatabaseAwayError, ClickHouseError: as `write`.
        """
        return await stored.without_stored(self._database, deliveries)

    async def write(self, group: Sequence[Delivery], token: str) -> pa.RecordBatch:
        """Stores a group; returns its readings, joined, when ClickHouse has all of it.

        Args:
            group: at least one delivery.
            token: of the events for which this insert was made; when some of their rows were
                left out because they are stored, it stays the same.

        Raises:
            DatabaseAwayError: when ClickHouse cannot answer now; a part may be stored.
            ClickHouseError: when it refuses the rows.
        """
        batch = pa.concat_batches([delivery.batch for delivery in group])
        changed = self._devices.changed(batch)
        blocks = []
        if batch.num_rows:
            blocks.append(rows.readings(batch))
        if any(delivery.rejects for delivery in group):
            blocks.append(rows.rejects(group))
        if changed.num_rows:
            blocks.append(rows.devices(changed))
        results = await asyncio.gather(
            *(self._insert(block, token) for block in blocks), return_exceptions=True
        )
        for result in results:
            if result is not None:
                raise result
        self._devices.remember(changed)
        return batch

    async def _insert(self, block: rows.Block, token: str) -> None:
        started = time.perf_counter()
        await self._database.insert_block(
            block.table, block.columns, block.data, fmt=rows.FORMAT, token=token
        )
        metrics.INSERT_LATENCY.labels(block.table).observe((time.perf_counter() - started) * 1000)
