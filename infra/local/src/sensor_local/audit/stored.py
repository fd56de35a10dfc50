"""What ClickHouse holds of the readings in the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from clickhouse_connect.driver.asyncclient import AsyncClient

from sensor_local.audit.balance import MINUTE_MS, Counts, Keys, device_of, pack
from sensor_producer.checksum import CHECKSUM_SQL

_WITHIN = """timestamp >= fromUnixTimestamp64Milli({begin:Int64})
  AND timestamp < fromUnixTimestamp64Milli({end:Int64})"""
_MOST_NAMED = 500
"""Devices that a query names; of more it reads all."""

_DEVICE_MINUTES = f"""
SELECT device_id, intDiv(toUnixTimestamp64Milli(timestamp), {MINUTE_MS}) AS minute,
  count() AS rows, {CHECKSUM_SQL} AS checksum
FROM readings WHERE {_WITHIN}
GROUP BY device_id, minute
SETTINGS optimize_aggregation_in_order = 1
"""  # noqa: S608 - no input in it

_ROLLED = f"""
SELECT device_id, intDiv(toUnixTimestamp(time), {MINUTE_MS // 1000}) AS minute, readings AS rows
FROM readings_minute FINAL
WHERE time >= fromUnixTimestamp64Milli({{begin:Int64}})
  AND time < fromUnixTimestamp64Milli({{end:Int64}})
"""  # noqa: S608 - no input in it

_READINGS = f"""
SELECT device_id, toUnixTimestamp64Milli(timestamp) AS at FROM readings WHERE {_WITHIN}
"""  # noqa: S608 - no input in it

_NAMED = "AND device_id IN {devices:Array(String)}"

_ANSWERED = f"""
SELECT count() - uniqExact(device_id, timestamp) FROM readings FINAL WHERE {_WITHIN} {_NAMED}
"""  # noqa: S608 - no input in it

_REJECTED = """
SELECT uniqExact(source, event_id, position) FROM rejects
WHERE source IN {sources:Array(String)} AND received_at >= fromUnixTimestamp64Milli({since:Int64})
"""

_REJECTED_OF_EVENTS = """
SELECT event_id, uniqExact(position) FROM rejects
WHERE source IN {sources:Array(String)} AND received_at >= fromUnixTimestamp64Milli({since:Int64})
GROUP BY event_id
"""


@dataclass(frozen=True, slots=True)
class DeviceMinutes:
    """Rows as they lie in the table, with all their copies.

    Attributes:
        rows: how many, by minute and device.
        checksum: of their timestamps, in the same form.
    """

    rows: Counts
    checksum: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class MinuteReadings:
    """The readings of some devices in one minute.

    Attributes:
        keys: each reading once.
        copies: rows in the table beyond one for each reading.
        copied: positions of the devices that have such rows, each once.
    """

    keys: Keys
    copies: int
    copied: npt.NDArray[np.int64]


class _Place(NamedTuple):
    """Which rows of a table are of known devices, and where these belong."""

    known: npt.NDArray[np.bool_]
    device: npt.NDArray[np.int64]
    minute: npt.NDArray[np.int64]


class Stored:
    """Questions to the tables `readings`, `readings_minute` and `rejects`.

    Args:
        client: of the database.
        device_ids: of the ledger; rows of other devices are left out.
    """

    def __init__(self, client: AsyncClient, device_ids: Sequence[str]):
        self._client = client
        self._ids = device_ids
        self._index = pa.array(device_ids, pa.string())

    async def device_minutes(self, start_ms: int, minutes: int) -> DeviceMinutes:
        """Returns what lies in so many minutes from `start_ms` on.

        Raises:
            ClickHouseError, OSError: when ClickHouse does not answer.
        """
        table = await self._table(_DEVICE_MINUTES, _span(start_ms, minutes))
        place = self._place(table, start_ms)
        rows = self._spread(table["rows"], place, minutes)
        checksum = np.zeros(rows.shape, np.uint64)
        checksum[place.minute, place.device] = table["checksum"].to_numpy()[place.known]
        return DeviceMinutes(rows, checksum)

    async def rolled(self, start_ms: int, minutes: int) -> Counts:
        """Returns how many readings the rollups count, by minute and device; 0 without rollups.

        Raises:
            ClickHouseError, OSError: as above.
        """
        if not (await self._client.query("EXISTS TABLE readings_minute")).result_rows[0][0]:
            return np.zeros((minutes, len(self._ids)), np.int64)
        table = await self._table(_ROLLED, _span(start_ms, minutes))
        return self._spread(table["rows"], self._place(table, start_ms), minutes)

    async def readings(self, start_ms: int, positions: npt.NDArray[np.int64]) -> MinuteReadings:
        """Returns the readings of some devices in the minute that begins at `start_ms`.

        Raises:
            ClickHouseError, OSError: as above.
        """
        parameters: dict[str, Any] = _span(start_ms, 1)
        sql = _READINGS
        if len(positions) <= _MOST_NAMED:
            sql += _NAMED
            parameters["devices"] = self._names(positions)
        table = await self._table(sql, parameters)
        device = self._positions(table["device_id"])
        wanted = np.isin(device, positions)
        every = np.sort(pack(device[wanted], table["at"].to_numpy()[wanted] - start_ms))
        again = every[1:][every[1:] == every[:-1]]
        return MinuteReadings(np.unique(every), len(again), np.unique(device_of(again)))

    async def answered(self, start_ms: int, positions: npt.NDArray[np.int64]) -> int:
        """Returns how many of these devices' readings answers count once too often.

        Raises:
            ClickHouseError, OSError: as above.
        """
        total = 0
        for first in range(0, len(positions), _MOST_NAMED):
            parameters: dict[str, Any] = _span(start_ms, 1)
            parameters["devices"] = self._names(positions[first : first + _MOST_NAMED])
            rows = (await self._client.query(_ANSWERED, parameters=parameters)).result_rows
            total += int(rows[0][0])
        return total

    async def rejected(self, sources: Sequence[str], since_ms: int) -> int:
        """Returns the number of rejects of what arrived at `since_ms` or later, each once.

        Raises:
            ClickHouseError, OSError: as above.
        """
        parameters = {"sources": list(sources), "since": since_ms}
        rows = await self._client.query(_REJECTED, parameters=parameters)
        return int(rows.result_rows[0][0])

    async def rejected_of_events(self, sources: Sequence[str], since_ms: int) -> dict[str, int]:
        """Returns the number of rejects by event, of what arrived at `since_ms` or later.

        Raises:
            ClickHouseError, OSError: as above.
        """
        parameters = {"sources": list(sources), "since": since_ms}
        rows = await self._client.query(_REJECTED_OF_EVENTS, parameters=parameters)
        return {event: int(count) for event, count in rows.result_rows}

    def _names(self, positions: npt.NDArray[np.int64]) -> list[str]:
        return [self._ids[position] for position in positions.tolist()]

    def _place(self, table: pa.Table, start_ms: int) -> _Place:
        device = self._positions(table["device_id"])
        known = device >= 0
        minute = table["minute"].to_numpy().astype(np.int64)[known] - start_ms // MINUTE_MS
        return _Place(known, device[known], minute)

    def _spread(self, column: pa.ChunkedArray, place: _Place, minutes: int) -> Counts:
        counts = np.zeros((minutes, len(self._ids)), np.int64)
        counts[place.minute, place.device] = column.to_numpy()[place.known]
        return counts

    def _positions(self, device_ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Position of each device, -1 for one that is not in the ledger."""
        found = pc.fill_null(pc.index_in(device_ids, value_set=self._index), -1)
        return np.asarray(found.to_numpy(), np.int64)

    async def _table(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        written = await self._client.raw_query(
            sql,
            parameters=dict(parameters),
            fmt="ArrowStream",
            settings={"output_format_arrow_string_as_string": 1},
        )
        with pa.ipc.open_stream(written) as reader:
            return reader.read_all()


def _span(start_ms: int, minutes: int) -> dict[str, Any]:
    return {"begin": start_ms, "end": start_ms + minutes * MINUTE_MS}
