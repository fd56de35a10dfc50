"""Which readings ClickHouse had of devices' minutes, a moment ago."""

import asyncio
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from sensor_consumer.ports import Queries

MINUTE_MS: Final = 60_000
AT_ONCE: Final = 300
"""Names of one question: they travel in its address, whose length servers limit."""
_MOST: Final = 100_000
"""Minutes that are remembered: some 60 MB of them with a reading a second."""
_SECONDS: Final = 10.0
"""For how long they are."""
_AT_A_TIME: Final = 4
"""Questions to ClickHouse."""

# A device's rows of any minute lie in one granule: a whole minute costs what one reading does.
_MINUTE: Final = """
SELECT device_id, arraySort(groupArray(toUInt16(toUnixTimestamp64Milli(timestamp) - {start:Int64})))
FROM readings
WHERE device_id IN {ids:Array(String)}
  AND timestamp >= fromUnixTimestamp64Milli({start:Int64})
  AND timestamp < fromUnixTimestamp64Milli({end:Int64})
GROUP BY device_id
"""

Key = tuple[str, int]
"""A device and a moment, epoch milliseconds."""


class _Minute(NamedTuple):
    asked: float
    offsets: Sequence[int]


class StoredMinutes:
    """Asks for whole minutes: events that were sent one after another are of the same ones.

    Args:
        database: where readings are.
        seconds: for how long an answer is used again.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        database: Queries,
        *,
        seconds: float = _SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._database = database
        self._seconds = seconds
        self._clock = clock
        self._limit = asyncio.Semaphore(_AT_A_TIME)
        self._known: OrderedDict[Key, _Minute] = OrderedDict()

    def clear(self) -> None:
        """Forgets everything."""
        self._known = OrderedDict()

    def questions(self, keys: Collection[Key]) -> int:
        """Returns how many questions it would take to tell which of the readings are stored."""
        wanted = _minutes_of(keys)
        return len(_questions(wanted - self._fresh(wanted).keys()))

    async def among(self, keys: Collection[Key]) -> set[Key]:
        """Returns those of the readings that were stored when it was asked, `seconds` ago at most.

        Raises:
            DatabaseAwayError: when ClickHouse cannot answer now.
            ClickHouseError: when it refuses.
        """
        wanted = _minutes_of(keys)
        minutes = self._fresh(wanted)
        asking = [
            asyncio.create_task(self._ask(start, devices))
            for start, devices in _questions(wanted - minutes.keys())
        ]
        try:
            for answer in await asyncio.gather(*asking):
                minutes.update(answer)
        finally:
            for task in asking:  # when one has failed nobody wants the others' answers
                task.cancel()
        return {
            (device, moment)
            for device, moment in keys
            if _holds(minutes[device, _start(moment)].offsets, moment % MINUTE_MS)
        }

    def _fresh(self, wanted: Collection[Key]) -> dict[Key, _Minute]:
        oldest = self._clock() - self._seconds
        return {
            key: known
            for key in wanted
            if (known := self._known.get(key)) is not None and known.asked > oldest
        }

    async def _ask(self, start: int, devices: Sequence[str]) -> Mapping[Key, _Minute]:
        async with self._limit:
            known, asked = self._known, self._clock()
            end = start + MINUTE_MS
            answer = dict(await self._database.rows(_MINUTE, ids=devices, start=start, end=end))
        minutes = {
            (device, start): _Minute(asked, array("H", answer.get(device, ())))
            for device in devices
        }
        known.update(minutes)
        while len(known) > _MOST:
            known.popitem(last=False)
        return minutes


def _minutes_of(keys: Collection[Key]) -> set[Key]:
    return {(device, _start(moment)) for device, moment in keys}


def _questions(minutes: Collection[Key]) -> list[tuple[int, list[str]]]:
    """Returns begins of minutes, each with the devices that one question is about."""
    devices = defaultdict(list)
    for device, start in minutes:
        devices[start].append(device)
    return [
        (start, names[at : at + AT_ONCE])
        for start, names in devices.items()
        for at in range(0, len(names), AT_ONCE)
    ]


def _start(moment: int) -> int:
    return moment - moment % MINUTE_MS


def _holds(offsets: Sequence[int], offset: int) -> bool:
    at = bisect_left(offsets, offset)
    return at < len(offsets) and offsets[at] == offset
