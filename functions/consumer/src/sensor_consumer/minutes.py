"""Which readings ClickHouse had of devices' minutes, a moment ago."""

import time
from array import array
from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

MINUTE_MS: Final = 60_000
AT_ONCE: Final = 300
"""Names of one question: they travel in its address, whose length servers limit."""
_MOST: Final = 200_000
"""Minutes that are remembered: some 50 MB of them with a reading a second."""
_SECONDS: Final = 10.0
"""For how long they are."""

# A device's rows of any minute lie in one granule: a whole minute costs what one reading does.
_MINUTE: Final = """
SELECT device_id, arraySort(groupArray(toUInt16(toUnixTimestamp64Milli(timestamp) - {start:Int64})))
FROM readings
WHERE device_id IN {ids:Array(String)}
  AND timestamp >= fromUnixTimestamp64Milli({start:Int64})
  AND timestamp < fromUnixTimestamp64Milli({start:Int64} + 60000)
GROUP BY device_id
"""

Key = tuple[str, int]
"""A device and a moment, epoch milliseconds."""


class Queries(Protocol):
    """What this needs of `adapters.database.Database`."""

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""


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
        self._known: OrderedDict[Key, _Minute] = OrderedDict()

    def clear(self) -> None:
        """Forgets everything."""
        self._known.clear()

    async def among(self, keys: Collection[Key]) -> set[Key]:
        """Returns those of the readings that were stored when it was asked, `seconds` ago at most.

        Raises:
            DatabaseAwayError: when ClickHouse cannot answer now.
            ClickHouseError: when it refuses.
        """
        minutes = await self._minutes({(device, _start(moment)) for device, moment in keys})
        return {
            (device, moment)
            for device, moment in keys
            if _holds(minutes[device, _start(moment)].offsets, moment % MINUTE_MS)
        }

    async def _minutes(self, wanted: Collection[Key]) -> Mapping[Key, _Minute]:
        self._forget()
        found = {key: known for key in wanted if (known := self._known.get(key)) is not None}
        missing = defaultdict(list)
        for device, start in wanted:
            if (device, start) not in found:
                missing[start].append(device)
        for start, devices in missing.items():
            for at in range(0, len(devices), AT_ONCE):
                found.update(await self._ask(start, devices[at : at + AT_ONCE]))
        return found

    async def _ask(self, start: int, devices: Sequence[str]) -> Mapping[Key, _Minute]:
        asked = self._clock()
        answer = dict(await self._database.rows(_MINUTE, ids=devices, start=start))
        minutes = {
            (device, start): _Minute(asked, array("H", answer.get(device, ())))
            for device in devices
        }
        self._known.update(minutes)
        return minutes

    def _forget(self) -> None:
        """Forgets what is too old or too much, the first asked first."""
        now = self._clock()
        while self._known:
            key, minute = self._known.popitem(last=False)
            if now - minute.asked < self._seconds and len(self._known) < _MOST:
                self._known[key] = minute
                self._known.move_to_end(key, last=False)
                break


def _start(moment: int) -> int:
    return moment - moment % MINUTE_MS


def _holds(offsets: Sequence[int], offset: int) -> bool:
    at = bisect_left(offsets, offset)
    return at < len(offsets) and offsets[at] == offset
