"""Marks the minutes of readings that came after the rollups of their time were made."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from sensor_consumer.delivery import Delivery
from sensor_consumer.ports import Writer
from sensor_shared.contracts.rollups import LATE_AFTER_SECONDS
from sensor_shared.telemetry import metrics

COVERS_SECONDS: Final = 5
"""For how long one mark speaks for all readings of its minute that this process stores."""
_FORGET_ABOVE: Final = 10_000


class Inserter(Protocol):
    """What marking needs of `adapters.database.Database`."""

    async def insert_many(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Returns when ClickHouse has acknowledged the rows."""


class LateMarks:
    """Writes marks, each after the readings that it stands for are acknowledged.

    While a backlog is stored, the same minute comes with insert after insert. A mark therefore
    speaks for what follows within `COVERS_SECONDS` of its sending, and the job takes it up only
    when it is older than that by far (`rollups.HOLD_SECONDS`).

    Args:
        inserter: where marks go.
        clock: seconds that only grow.
        now: the time, epoch seconds.
    """

    def __init__(
        self,
        inserter: Inserter,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ):
        self._inserter = inserter
        self._clock = clock
        self._now = now
        self._sent: dict[int, float] = {}

    async def write(self, batch: pa.RecordBatch) -> None:
        """Returns when each late minute of these stored readings has its mark.

        Args:
            batch: columns of `readings.SCHEMA`.

        Raises:
            DatabaseAwayError: when ClickHouse cannot answer now.
            ClickHouseError: when it refuses.
        """
        sent = self._clock()
        late = [
            minute
            for minute in _minutes_before(batch, self._now() - LATE_AFTER_SECONDS)
            if sent - self._sent.get(minute, float("-inf")) >= COVERS_SECONDS
        ]
        if not late:
            return
        await self._inserter.insert_many("rollup_marks", [{"minute": minute} for minute in late])
        metrics.ROLLUP_MARKED.inc(len(late))
        if len(self._sent) + len(late) > _FORGET_ABOVE:
            self._sent.clear()
        self._sent.update(dict.fromkeys(late, sent))


class MarkedTables:
    """Tables whose late readings are marked before their events are answered."""

    def __init__(self, tables: Writer, marks: LateMarks):
        self._tables = tables
        self._marks = marks

    async def write(self, group: Sequence[Delivery], token: str) -> pa.RecordBatch:
        """Stores a group, then marks; returns its readings, joined. Raises what both raise."""
        batch = await self._tables.write(group, token)
        await self._marks.write(batch)
        return batch

    async def without_stored(
        self, old: Sequence[Delivery], doubtful: Sequence[Delivery]
    ) -> list[Delivery]:
        """Returns the deliveries without the rows that are stored, and marks those too.

        Whoever stored them may not have lived to mark them.
        """
        rest = await self._tables.without_stored(old, doubtful)
        batches = [delivery.batch for delivery in (*old, *doubtful)]
        await self._marks.write(pa.concat_batches(batches))
        return rest

    async def keep(self, deliveries: Sequence[Delivery]) -> None:
        """Stores rejects. Raises what storing raises."""
        await self._tables.keep(deliveries)


def _minutes_before(batch: pa.RecordBatch, moment: float) -> list[int]:
    """Returns the minutes with readings that ended before a moment; all in epoch seconds."""
    stamps: Any = batch.column("timestamp").cast(pa.int64()).to_numpy()
    # A minute ends 60 s after its start. Nearly always nothing is late: one comparison.
    late = stamps[stamps < (moment - moment % 60) * 1_000]
    return [int(minute) * 60 for minute in np.unique(late // 60_000)]
