"""From deliveries to the columns of the tables, encoded for an insert. Pure.

ArrowStream it is: measured against Native on the embedded engine, 265 rows cost the engine the
same 6 ms of CPU either way, and Arrow's encoder is not ours to keep.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from sensor_consumer.delivery import Delivery
from sensor_shared.contracts.readings import DECIMALS, METRICS, device_type

FORMAT: Final = "ArrowStream"

_DECIMAL: Final = pa.decimal128(9, DECIMALS)
_READINGS: Final = ("device_id", "timestamp", *METRICS, "status")
_MOMENT: Final = pa.timestamp("ms", "UTC")
_REJECTS: Final = pa.schema(
    [
        ("received_at", _MOMENT),
        ("source", pa.string()),
        ("event_id", pa.string()),
        ("position", pa.uint32()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("device_id", pa.string()),
        ("raw", pa.binary()),
    ]
)
_DEVICES: Final = pa.schema(
    [
        ("device_id", pa.string()),
        ("device_type", pa.string()),
        ("region", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("updated_at", _MOMENT),
    ]
)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows for one table, encoded in `FORMAT`."""

    table: str
    columns: tuple[str, ...]
    data: bytes


def readings(batch: pa.RecordBatch) -> Block:
    """Encodes readings; metrics are rounded to what the table keeps, never cut off."""
    columns = [batch.column(name) for name in _READINGS]
    return _block(
        "readings",
        pa.RecordBatch.from_arrays(
            [
                column.cast(_DECIMAL) if name in METRICS else column
                for name, column in zip(_READINGS, columns, strict=True)
            ],
            names=list(_READINGS),
        ),
    )


def rejects(deliveries: Iterable[Delivery]) -> Block:
    """Encodes the rejects of some deliveries, with the bytes as they came."""
    rows = [
        {
            "received_at": delivery.arrived_ms,
            "source": delivery.event.source,
            "event_id": delivery.event.id,
            "position": reject.position,
            "reason": reject.reason,
            "detail": reject.detail,
            "device_id": reject.device_id,
            "raw": reject.raw,
        }
        for delivery in deliveries
        for reject in delivery.rejects
    ]
    return _block("rejects", pa.RecordBatch.from_pylist(rows, _REJECTS))


def devices(batch: pa.RecordBatch) -> Block:
    """Encodes what is known of the devices of some readings, one row for each of them."""
    ids = batch.column("device_id")
    region = batch.column("region").fill_null("")
    arrays = [
        ids,
        pa.array([device_type(id_) for id_ in ids.to_pylist()], pa.string()),
        region,
        batch.column("latitude"),
        batch.column("longitude"),
        batch.column("timestamp"),
    ]
    return _block("devices", pa.RecordBatch.from_arrays(arrays, schema=_DEVICES))


def token(keys: Sequence[str]) -> str:
    """Returns the de-duplication token of an insert that holds these events, in any order."""
    if len(keys) == 1:
        return keys[0]
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(keys):
        digest.update(bytes.fromhex(key))
    return digest.hexdigest()


def _block(table: str, batch: pa.RecordBatch) -> Block:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return Block(table, tuple(batch.schema.names), sink.getvalue().to_pybytes())
