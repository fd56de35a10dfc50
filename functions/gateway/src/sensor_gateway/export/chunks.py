"""The readings of an export, chunk by chunk in the order of the table's key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sensor_gateway.domain import Span
from sensor_gateway.export.forms import columns
from sensor_gateway.export.position import Position
from sensor_gateway.filters import among_devices
from sensor_gateway.rollups.bindings import Bindings
from sensor_shared.adapters.database import Database

# A chunk reads up to its end and no further, but ClickHouse counts what it might have to read
# against `max_rows_to_read` before it begins. What holds for a chunk is its time.
_SETTINGS: Final = (
    "SETTINGS max_rows_to_read = 0, date_time_output_format = 'iso', "
    "format_csv_null_representation = '', output_format_json_quote_decimals = 0"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which readings are exported; an empty list of names is no condition.

    Attributes:
        span: of the readings' own time.
        metrics: of `METRICS`.
        devices, regions, types: all that are given must fit.
    """

    span: Span
    metrics: Sequence[str]
    devices: Sequence[str] = ()
    regions: Sequence[str] = ()
    types: Sequence[str] = ()


class Chunks:
    """Asks ClickHouse for one chunk at a time."""

    def __init__(self, database: Database):
        self._database = database

    async def fetch(
        self, selection: Selection, after: Position | None, rows: int, *, fmt: str
    ) -> bytes:
        """Returns the readings behind a place, each moment once, by device and time.

        Args:
            selection: of the export.
            after: the place; None: from the start.
            rows: readings at most; fewer come only at the end.
            fmt: one of ClickHouse's formats.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        bindings = Bindings()
        names = columns(selection.metrics)
        shown = ", ".join("toString(status) AS status" if n == "status" else n for n in names)
        return await self._database.text(
            f"SELECT {shown} FROM {_rows(bindings, selection, after)} "  # noqa: S608
            f"LIMIT {bindings.add(rows, 'UInt64')} {_SETTINGS} FORMAT {fmt}",
            **bindings.values,
        )

    async def end_of(
        self, selection: Selection, after: Position | None, rows: int
    ) -> Position | None:
        """Returns where a part of so many readings ends; None when nothing follows it.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        bindings = Bindings()
        found = await self._database.rows(
            "SELECT device_id, toUnixTimestamp64Milli(timestamp) "  # noqa: S608
            f"FROM {_rows(bindings, selection, after)} "
            f"LIMIT 2 OFFSET {bindings.add(rows - 1, 'UInt64')} {_SETTINGS}",
            **bindings.values,
        )
        return Position(*found[0]) if len(found) == 2 else None


def _rows(bindings: Bindings, selection: Selection, after: Position | None) -> str:
    span = selection.span
    conditions = [
        f"timestamp >= fromUnixTimestamp64Milli({bindings.add(span.start_ms, 'Int64')}, 'UTC')",
        f"timestamp < fromUnixTimestamp64Milli({bindings.add(span.end_ms, 'Int64')}, 'UTC')",
    ]
    if after is not None:
        device = bindings.add(after.device_id, "String")
        at = f"fromUnixTimestamp64Milli({bindings.add(after.at_ms, 'Int64')}, 'UTC')"
        conditions.append(f"device_id >= {device} AND (device_id > {device} OR timestamp > {at})")
    if selection.devices:
        conditions.append(f"device_id IN {bindings.add(list(selection.devices), 'Array(String)')}")
    conditions += among_devices(bindings, selection.regions, selection.types)
    return f"readings FINAL WHERE {' AND '.join(conditions)} ORDER BY device_id ASC, timestamp ASC"
