"""Readings as an Arrow IPC stream with the columns of `SCHEMA`."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sensor_shared.contracts.readings import arrow_rows, arrow_stream
from sensor_shared.contracts.readings.model import METRICS, SCHEMA
from sensor_shared.contracts.readings.validation import Columns, Mask, Parsed

_KNOWN = frozenset(SCHEMA.names) | {"location"}
_TICKS_PER_MS = {"us": 1_000, "ns": 1_000_000}
_FARTHEST_MS = 2**53
_FARTHEST_S = _FARTHEST_MS // 1_000
_PLACE = ("latitude", "longitude", "region")


def parse(data: bytes) -> Parsed:
    """Reads an Arrow stream into columns.

    Types are taken as they come where that is without loss: any integer or float for a
    metric, any timestamp or epoch milliseconds, any string type. A column of a type that
    does not fit makes each of its readings a reject.

    Raises:
        TooManyReadingsError: when there are more rows than `MAX_READINGS_PER_EVENT`.
        UnreadableError: when the bytes cannot be read, or unfold to too many.
    """
    batch = arrow_stream.read(data)
    return Parsed(
        columns=_columns(batch),
        positions=range(batch.num_rows),
        raw=lambda positions: arrow_rows.write(batch, positions, data),
        unknown_fields=len(set(batch.schema.names) - _KNOWN) * batch.num_rows,
        size=batch.nbytes,
    )


def _columns(batch: pa.RecordBatch) -> Columns:
    rows = batch.num_rows
    faults: dict[str, Mask] = {}
    given = dict(zip(batch.schema.names, batch.columns, strict=True))
    given |= _place(given.get("location"), faults)

    def floats(name: str, fault: str) -> npt.NDArray[np.float64]:
        array = _cast(given.get(name), pa.float64(), fault, faults, rows)
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)

    def strings(name: str, fault: str) -> pa.StringArray:
        return _cast(given.get(name), pa.string(), fault, faults, rows)

    timestamp = _timestamp(given.get("timestamp"), faults, rows)
    status = strings("status", "invalid_status")
    return Columns(
        device_id=strings("device_id", "invalid_device_id"),
        timestamp=timestamp,
        metrics={metric: floats(metric, f"invalid_{metric}") for metric in METRICS},
        status=pc.fill_null(status, "active") if status.null_count else status,
        latitude=floats("latitude", "invalid_location"),
        longitude=floats("longitude", "invalid_location"),
        region=strings("region", "invalid_location"),
        faults=faults,
    )


def _place(location: pa.Array | None, faults: dict[str, Mask]) -> dict[str, pa.Array]:
    """The fields of a `location` struct, when the place comes as one."""
    if location is None:
        return {}
    if not pa.types.is_struct(location.type):
        faults["invalid_location"] = np.asarray(pc.is_valid(location), dtype=np.bool_)
        return {}
    names = {field.name for field in location.type}
    return {name: pc.struct_field(location, name) for name in _PLACE if name in names}


def _cast(
    array: pa.Array | None, kind: pa.DataType, fault: str, faults: dict[str, Mask], rows: int
) -> pa.Array:
    if array is None or pa.types.is_null(array.type):
        return pa.nulls(rows, kind)
    if array.type == kind:
        return array
    if _fits(array.type, kind):
        try:
            if pa.types.is_string(kind):
                return arrow_stream.plain_text(array)
            # Rounded where a double cannot hold it: one wild number must not fail its column.
            return array.cast(kind, safe=False)
        except pa.ArrowException:
            pass
    given = np.asarray(pc.is_valid(array), dtype=np.bool_)
    faults[fault] = faults.get(fault, np.zeros(rows, dtype=np.bool_)) | given
    return pa.nulls(rows, kind)


def _fits(given: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(given):
        given = given.value_type
    if pa.types.is_string(wanted):
        return arrow_stream.is_text(given)
    return bool(
        pa.types.is_floating(given) or pa.types.is_integer(given) or pa.types.is_decimal(given)
    )


def _timestamp(array: pa.Array | None, faults: dict[str, Mask], rows: int) -> npt.NDArray[np.int64]:
    """Epoch milliseconds; what is missing or unreadable is 0 and a fault."""
    given = pa.nulls(rows, pa.int64()) if array is None else _ticks(array, rows)
    unit = array.type.unit if array is not None and pa.types.is_timestamp(array.type) else "ms"
    ticks: npt.NDArray[np.int64]
    if unit == "ms" and not given.null_count:
        ticks = given.to_numpy()
        return ticks
    missing = np.asarray(pc.is_null(given), dtype=np.bool_)
    ticks = pc.fill_null(given, 0).to_numpy()
    if unit == "s":
        missing |= np.abs(ticks) > _FARTHEST_S
        milliseconds = np.where(missing, 0, ticks) * 1_000
    else:
        milliseconds = ticks // _TICKS_PER_MS[unit] if unit != "ms" else ticks
    if missing.any():
        faults["invalid_timestamp"] = missing
    return milliseconds


def _ticks(array: pa.Array, rows: int) -> pa.Int64Array:
    """The numbers of a column of moments, null where there is none that can be read."""
    kind = array.type
    # A zone only names how to show it, the value is UTC; without one it is no instant.
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return array.view(pa.int64())
    if pa.types.is_uint64(kind):
        return pc.if_else(
            pc.greater(array, pa.scalar(_FARTHEST_MS, pa.uint64())), None, array
        ).cast(pa.int64())
    if pa.types.is_integer(kind):
        return array.cast(pa.int64())
    return pa.nulls(rows, pa.int64())
