"""The forms of an export: what ClickHouse is asked for, and how chunks of it make one file."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from sensor_gateway.export.position import Position
from sensor_shared.contracts.readings import DECIMALS

Name = Literal["csv", "ndjson", "parquet"]
MEDIA_TYPES: Final[dict[Name, str]] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk, written: its bytes, its number of readings, and where it ends."""

    body: bytes
    readings: int
    last: Position | None


class Form(Protocol):
    """Writes one file, chunk by chunk; what it holds meanwhile does not grow with the file."""

    clickhouse_format: str

    def start(self) -> bytes:
        """Returns what comes before the first chunk."""

    def piece(self, chunk: bytes) -> Piece:
        """Returns a chunk as it goes out; may take long enough to be called in a thread."""

    def end(self) -> bytes:
        """Returns what comes after the last chunk."""


def form(name: Name, metrics: Sequence[str], *, resumed: bool) -> Form:
    """Returns what writes one file.

    Args:
        name: of the form.
        metrics: the columns between `timestamp` and `status`.
        resumed: whether it continues another file, whose head must not come again.
    """
    if name == "csv":
        return _Csv(columns(metrics), resumed=resumed)
    return _Ndjson() if name == "ndjson" else _Parquet(metrics)


def columns(metrics: Sequence[str]) -> list[str]:
    """Returns the columns of an export, in their order."""
    return ["device_id", "timestamp", *metrics, "status"]


class _Csv:
    """RFC 4180, with LF; a missing value is empty."""

    clickhouse_format = "CSV"

    def __init__(self, names: Sequence[str], *, resumed: bool):
        self._head = b"" if resumed else ",".join(names).encode() + b"\n"

    def start(self) -> bytes:
        return self._head

    def piece(self, chunk: bytes) -> Piece:
        # No value holds a line feed: ids, times and statuses are of a narrow alphabet.
        count = chunk.count(b"\n")
        if not count:
            return Piece(b"", 0, None)
        device, at, *_ = next(csv.reader([_last_line(chunk)]))
        return Piece(chunk, count, Position(device, _epoch_ms(at)))

    def end(self) -> bytes:
        return b""


class _Ndjson:
    """One JSON object a line; a missing value is null."""

    clickhouse_format = "JSONEachRow"

    def start(self) -> bytes:
        return b""

    def piece(self, chunk: bytes) -> Piece:
        count = chunk.count(b"\n")
        if not count:
            return Piece(b"", 0, None)
        last = json.loads(_last_line(chunk))
        return Piece(chunk, count, Position(last["device_id"], _epoch_ms(last["timestamp"])))

    def end(self) -> bytes:
        return b""


class _Parquet:
    """One row group per chunk; decimals and times in their own types, zstd."""

    clickhouse_format = "ArrowStream"

    def __init__(self, metrics: Sequence[str]):
        number = pa.decimal128(9, DECIMALS)
        self._schema = pa.schema(
            [
                pa.field("device_id", pa.string(), nullable=False),
                pa.field("timestamp", pa.timestamp("ms", "UTC"), nullable=False),
                *(pa.field(metric, number) for metric in metrics),
                pa.field("status", pa.string(), nullable=False),
            ]
        )
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")

    def start(self) -> bytes:
        return self._sink.take()

    def piece(self, chunk: bytes) -> Piece:
        table = pa.ipc.open_stream(chunk).read_all().cast(self._schema)
        if not table.num_rows:
            return Piece(b"", 0, None)
        self._writer.write_table(table, row_group_size=table.num_rows)
        at = table.column("timestamp")[-1].cast(pa.int64()).as_py()
        last = Position(table.column("device_id")[-1].as_py(), at)
        return Piece(self._sink.take(), table.num_rows, last)

    def end(self) -> bytes:
        self._writer.close()
        return self._sink.take()


class _Sink:
    """A file that can only be written, and whose bytes are taken out as they come."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Has nothing to flush."""

    def close(self) -> None:
        """Has nothing to close."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _last_line(chunk: bytes) -> str:
    return chunk[chunk.rfind(b"\n", 0, -1) + 1 : -1].decode()


def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)
