"""Which rows of an event ClickHouse has already, for events whose past is in doubt."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from sensor_consumer.delivery import Delivery

# Both lists are sets of the sort key's columns; what they select together is a little more than
# was asked for, and compared exactly here.
_READINGS: Final = """
SELECT device_id, toUnixTimestamp64Milli(timestamp) FROM readings
WHERE device_id IN {ids:Array(String)} AND timestamp IN {moments:Array(DateTime64(3, 'UTC'))}
"""
_REJECTS: Final = """
SELECT source, event_id, position FROM rejects
WHERE source IN {sources:Array(String)} AND event_id IN {ids:Array(String)}
"""
_AT_ONCE: Final = 300
"""Readings of one question: they travel in its address, whose length servers limit."""


class Queries(Protocol):
    """What this needs of `adapters.database.Database`."""

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""


async def without_stored(database: Queries, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Returns the deliveries without the rows that are stored, those with none left included.

    Raises:
        DatabaseAwayError: when ClickHouse cannot answer now.
        ClickHouseError: when it refuses.
    """
    readings = await _stored_readings(database, deliveries)
    rejects = await _stored_rejects(database, [item for item in deliveries if item.rejects])
    rest = []
    for item in deliveries:
        wanted = [key not in readings for key in _keys(item.batch)]
        rest.append(
            replace(
                item,
                batch=item.batch.filter(pa.array(wanted, pa.bool_())),
                rejects=[
                    reject
                    for reject in item.rejects
                    if (item.event.source, item.event.id, reject.position) not in rejects
                ],
            )
        )
    return rest


async def _stored_readings(
    database: Queries, deliveries: Sequence[Delivery]
) -> set[tuple[Any, ...]]:
    wanted = sorted({key for item in deliveries for key in _keys(item.batch)})
    found: set[tuple[Any, ...]] = set()
    for at in range(0, len(wanted), _AT_ONCE):
        ids, moments = zip(*wanted[at : at + _AT_ONCE], strict=True)
        stamps = np.array(sorted(set(moments)), dtype="datetime64[ms]")
        rows = await database.rows(
            _READINGS,
            ids=sorted(set(ids)),
            moments=[stamp.replace("T", " ") for stamp in np.datetime_as_string(stamps).tolist()],
        )
        found.update((device, moment) for device, moment in rows)
    return found


async def _stored_rejects(
    database: Queries, deliveries: Sequence[Delivery]
) -> set[tuple[Any, ...]]:
    found: set[tuple[Any, ...]] = set()
    for at in range(0, len(deliveries), _AT_ONCE):
        some = [item.event for item in deliveries[at : at + _AT_ONCE]]
        found.update(
            await database.rows(
                _REJECTS,
                sources=sorted({event.source for event in some}),
                ids=sorted({event.id for event in some}),
            )
        )
    return found


def _keys(batch: pa.RecordBatch) -> list[tuple[str, int]]:
    moments = batch.column("timestamp").cast(pa.int64()).to_pylist()
    return list(zip(batch.column("device_id").to_pylist(), moments, strict=True))
