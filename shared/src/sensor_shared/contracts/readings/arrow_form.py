"""Readings as an Arrow IPC stream with the columns of `SCHEMA`."""

import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sensor_shared.contracts.readings.model import (
    MAX_READINGS_PER_EVENT,
    METRICS,
    SCHEMA,
    UnreadableError,
)
from sensor_shared.contracts.readings.validation import Columns, Mask, Parsed

_KNOWN = frozenset(SCHEMA.names) | {"location"}
_PLACE = ("latitude", "longitude", "region")


def parse(data: bytes) -> Parsed:
    """Reads an Arrow stream into columns.

    Types are taken as they come where that is without loss: any integer or float for a
    metric, any timestamp or epoch milliseconds, any string type. A column of a type that
    does not fit makes each of its readings a reject.

    Raises:
        UnreadableError: when the bytes cannot be read, or hold more than
            `MAX_READINGS_PER_EVENT` rows.
    """
    batch = _read(data)
    return Parsed(
        columns=_columns(batch),
        positions=range(batch.num_rows),
        raw=lambda position: _row(batch, position),
        unknown_fields=len(set(batch.schema.names) - _KNOWN) * batch.num_rows,
    )


def _read(data: bytes) -> pa.RecordBatch:
    try:
        with pa.ipc.open_stream(data) as reader:
            batches, rows = [], 0
            for batch in reader:
                rows += batch.num_rows
                if rows > MAX_READINGS_PER_EVENT:
                    raise UnreadableError(
                        f"more than {MAX_READINGS_PER_EVENT} readings in one event"
                    )
                batches.append(batch)
            if len(set(reader.schema.names)) != len(reader.schema.names):
                raise UnreadableError("two columns have the same name")
            if len(batches) != 1:
                batches = (
                    pa.Table.from_batches(batches, reader.schema).combine_chunks().to_batches()
                )
            batch = batches[0] if batches else pa.RecordBatch.from_pylist([], reader.schema)
            batch.validate(full=True)  # a stranger's offsets must not be trusted
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableError(str(error)[:200]) from error
    return batch


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
            return array.cast(kind)
        except pa.ArrowException:
            pass
    given = np.asarray(pc.is_valid(array), dtype=np.bool_)
    faults[fault] = faults.get(fault, np.zeros(rows, dtype=np.bool_)) | given
    return pa.nulls(rows, kind)


def _fits(given: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(given):
        given = given.value_type
    if pa.types.is_string(wanted):
        return any(
            is_text(given)
            for is_text in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        )
    return bool(
        pa.types.is_floating(given) or pa.types.is_integer(given) or pa.types.is_decimal(given)
    )


def _timestamp(array: pa.Array | None, faults: dict[str, Mask], rows: int) -> npt.NDArray[np.int64]:
    """Epoch milliseconds; what is missing or unreadable is 0 and a fault."""
    milliseconds = pa.nulls(rows, pa.int64())
    if array is not None:
        try:
            if pa.types.is_timestamp(array.type):
                # A zone only names how to show it, the value is UTC; without one it is no instant.
                if array.type.tz is not None:
                    milliseconds = array.cast(pa.timestamp("ms", "UTC"), safe=False).cast(
                        pa.int64()
                    )
            elif pa.types.is_integer(array.type):
                milliseconds = array.cast(pa.int64())
        except pa.ArrowException:
            pass
    if milliseconds.null_count:
        faults["invalid_timestamp"] = np.asarray(pc.is_null(milliseconds), dtype=np.bool_)
        milliseconds = pc.fill_null(milliseconds, 0)
    values: npt.NDArray[np.int64] = milliseconds.to_numpy()
    return values


def _row(batch: pa.RecordBatch, position: int) -> bytes:
    (row,) = batch.slice(position, 1).to_pylist()
    return json.dumps(row, default=str, ensure_ascii=False).encode("utf-8", "replace")
