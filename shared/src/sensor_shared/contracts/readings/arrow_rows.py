"""Rows of an Arrow batch written out as JSON, for people to read."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from sensor_shared.contracts.readings.model import MAX_DECODED_BYTES

_OVERHEAD_BYTES = 32
_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode


def write(batch: pa.RecordBatch, positions: Sequence[int], data: bytes) -> list[bytes]:
    """Returns each row at one of the positions as a JSON object; moments as numbers in their unit.

    Where a row has no columns, or cannot be written out in bounded memory (nested lists, views,
    very many columns), the first gets all the event's bytes and the others none.

    Args:
        batch: the rows.
        positions: ascending.
        data: the event's bytes.
    """
    wide = sum(len(field.name) + len(str(field.type)) + _OVERHEAD_BYTES for field in batch.schema)
    flat = bool(batch.schema.types) and all(map(_is_flat, batch.schema.types))
    if wide * len(positions) > MAX_DECODED_BYTES or not flat:
        return [data, *([b""] * (len(positions) - 1))]
    rows = batch.take(pa.array(positions, pa.int64()))
    names = batch.schema.names
    return [
        _encode(dict(zip(names, values, strict=True))).encode()
        for values in zip(*map(_values, rows.columns), strict=True)
    ]


def _is_flat(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        fields = list(kind)
        return len({field.name for field in fields}) == len(fields) and all(
            _is_value(field.type) for field in fields
        )
    return _is_value(kind) or _is_moment(kind)


def _is_value(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_null,
            pa.types.is_boolean,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_decimal,
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_fixed_size_binary,
        )
    )


def _is_moment(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_timestamp,
            pa.types.is_duration,
            pa.types.is_date,
            pa.types.is_time,
        )
    )


def _values(column: pa.Array) -> list[Any]:
    # As Python's own moments some could not be had: too far away, or finer than microseconds.
    if _is_moment(column.type):
        column = column.view(pa.int64() if column.type.bit_width == 64 else pa.int32())
    values: list[Any] = column.to_pylist()
    return values
