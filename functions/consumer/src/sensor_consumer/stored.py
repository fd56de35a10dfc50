"""Which rows of an event ClickHouse has already, for events whose past is not known."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain
from math import ceil
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sensor_consumer.delivery import Delivery
from sensor_consumer.minutes import AT_ONCE, Key, StoredMinutes
from sensor_consumer.ports import Queries
from sensor_consumer.seen import RecentKeys

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
_REPLAYS: Final = 100
"""Names of replays that are remembered."""
_WORTH: Final = 4
"""So many more questions are asked by minutes, which later events need too, than by readings."""


class StoredRows:
    """Tells what is stored.

    Args:
        database: where to look.
        minutes: answers for many events at once.
    """

    def __init__(self, database: Queries, minutes: StoredMinutes):
        self._database = database
        self._minutes = minutes
        self._replays = RecentKeys(_REPLAYS)

    async def leave_out(
        self, old: Sequence[Delivery], doubtful: Sequence[Delivery]
    ) -> list[Delivery]:
        """Returns the deliveries without the rows that are stored, those with none left included.

        Args:
            old: nobody is storing these now: an answer of some seconds ago is as good as a new one.
            doubtful: of these, what was not stored then is asked for anew.

        Raises:
            DatabaseAwayError: when ClickHouse cannot answer now.
            ClickHouseError: when it refuses.
        """
        replays = {item.replayed for item in (*old, *doubtful) if item.replayed}
        if any(replay not in self._replays for replay in replays):
            # Whoever replays once more has lost something since.
            self._minutes.clear()
            self._replays.add(replays)
        rejects = await self._rejects([item for item in (*old, *doubtful) if item.rejects])
        kept = [_without_rejects(item, rejects) for item in (*old, *doubtful)]
        keys = [_keys(item.batch) for item in kept]
        every = set(chain.from_iterable(keys))
        if self._minutes.questions(every) > _WORTH * ceil(len(every) / AT_ONCE):
            # A few readings of many minutes.
            stored = await self._readings(every)
        else:
            stored = await self._minutes.among(every)
            stored |= await self._readings({*chain.from_iterable(keys[len(old) :])} - stored)
        return [_without_readings(*one, stored) for one in zip(kept, keys, strict=True)]

    async def _readings(self, keys: Collection[Key]) -> set[Key]:
        wanted = sorted(keys)
        found: set[Key] = set()
        for at in range(0, len(wanted), AT_ONCE):
            ids, moments = zip(*wanted[at : at + AT_ONCE], strict=True)
            stamps = np.array(sorted(set(moments)), dtype="datetime64[ms]")
            texts = np.datetime_as_string(stamps).tolist()
            rows = await self._database.rows(
                _READINGS,
                ids=sorted(set(ids)),
                moments=[text.replace("T", " ") for text in texts],
            )
            found.update((device, moment) for device, moment in rows)
        return found

    async def _rejects(self, deliveries: Sequence[Delivery]) -> set[tuple[Any, ...]]:
        found: set[tuple[Any, ...]] = set()
        for at in range(0, len(deliveries), AT_ONCE):
            some = [item.event for item in deliveries[at : at + AT_ONCE]]
            found.update(
                await self._database.rows(
                    _REJECTS,
                    sources=sorted({event.source for event in some}),
                    ids=sorted({event.id for event in some}),
                )
            )
        return found


def _without_readings(item: Delivery, keys: Sequence[Key], stored: Collection[Key]) -> Delivery:
    wanted = [key not in stored for key in keys]
    return replace(item, batch=item.batch.filter(pa.array(wanted, pa.bool_())))


def _without_rejects(item: Delivery, stored: Collection[tuple[Any, ...]]) -> Delivery:
    event = item.event
    left = [one for one in item.rejects if (event.source, event.id, one.position) not in stored]
    return replace(item, rejects=left)


def _keys(batch: pa.RecordBatch) -> list[Key]:
    moments = batch.column("timestamp").cast(pa.int64()).to_pylist()
    return list(zip(batch.column("device_id").to_pylist(), moments, strict=True))
