"""Reads an Arrow IPC stream that a stranger has sent, in bounded memory.

Some bytes can stand for very many: compressed buffers, dictionaries and views, which name one long
value a thousand times. All of that is measured before it is unfolded.
"""

import struct
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensor_shared.contracts.readings.model import (
    MAX_DECODED_BYTES,
    MAX_READINGS_PER_EVENT,
    TooManyReadingsError,
    UnreadableError,
)

_UNCOMPRESSED = -1
_EARLY_COMPRESSION = b"ARROW:experimental_compression"
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3


def read(data: bytes) -> pa.RecordBatch:
    """Returns the rows of all batches as one batch, each column's text plain.

    Raises:
        TooManyReadingsError: when there are more rows than `MAX_READINGS_PER_EVENT`.
        UnreadableError: when the bytes cannot be read, or unfold to more than
            `MAX_DECODED_BYTES`.
    """
    try:
        _measure(data)
        with pa.ipc.open_stream(data) as reader:
            batches, rows = [], 0
            for batch in reader:
                rows += batch.num_rows
                if rows > MAX_READINGS_PER_EVENT:
                    raise TooManyReadingsError
                batches.append(batch)
            _refuse_namesakes(reader.schema.names)
            if len(batches) != 1:
                batches = (
                    pa.Table.from_batches(batches, reader.schema).combine_chunks().to_batches()
                )
            batch = batches[0] if batches else pa.RecordBatch.from_pylist([], reader.schema)
            batch.validate(full=True)  # a stranger's offsets must not be trusted
            return _plain(batch)
    except UnreadableError:
        raise
    except (pa.ArrowException, OSError, ValueError, IndexError, struct.error) as error:
        raise UnreadableError(str(error)[:200]) from error


def _refuse_namesakes(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise UnreadableError("two columns have the same name")


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text, however they are kept."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def plain_text(array: pa.Array) -> pa.StringArray:
    """Returns text that is a view or in a dictionary written out; takes other text as it is.

    Raises:
        UnreadableError: when that is more than `MAX_DECODED_BYTES`.
    """
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary.cast(pa.string())).take(array.indices)
    elif pa.types.is_string_view(array.type):
        lengths = _view_lengths(array)
    else:
        return array.cast(pa.string())
    _limit(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)
    if pa.types.is_dictionary(array.type):
        return array.dictionary.cast(pa.string()).take(array.indices)
    return array.cast(pa.string())


def _view_lengths(array: pa.Array) -> pa.Array:
    """A view is 16 bytes that begin with its length; no kernel of pyarrow 26 tells it."""
    views = array.buffers()[1] or b""
    lengths = np.frombuffer(views, dtype="<i4")[::4][array.offset : array.offset + len(array)]
    return pc.if_else(pc.is_valid(array), pa.array(lengths, pa.int32()), 0)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    for index, field in enumerate(batch.schema):
        kind = field.type
        if pa.types.is_string_view(kind) or (
            pa.types.is_dictionary(kind) and is_text(kind.value_type)
        ):
            batch = batch.set_column(index, field.name, plain_text(batch.column(index)))
    return batch


def _limit(size: int) -> None:
    if size > MAX_DECODED_BYTES:
        raise UnreadableError(f"the columns unfold to more than {MAX_DECODED_BYTES} bytes")


def _measure(data: bytes) -> None:
    """Adds up what compressed buffers say that they hold: Arrow would allocate just that."""
    total = 0
    for message in pa.ipc.MessageReader.open_stream(data):
        metadata = message.metadata.to_pybytes()
        if _EARLY_COMPRESSION in metadata:
            raise UnreadableError("buffers are compressed in the way of Arrow before 1.0")
        for offset, length in _compressed(metadata):
            if length < 8:
                continue
            (size,) = struct.unpack_from("<q", message.body or b"", offset)
            total += length if size == _UNCOMPRESSED else size
            if size < _UNCOMPRESSED:
                raise UnreadableError("a buffer's length is negative")
            _limit(total)


def _compressed(metadata: bytes) -> Iterator[tuple[int, int]]:
    """Offset and length of each buffer of a message whose buffers are compressed.

    The layout is that of Message.fbs in the Arrow project, in FlatBuffers' binary format.
    """
    message = _Table(metadata, _u32(metadata, 0))
    kind_at, header_at = message.field(1), message.field(2)
    if kind_at is None or header_at is None:
        return
    kind = metadata[kind_at]
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return
    batch = _Table(metadata, header_at + _u32(metadata, header_at))
    if kind == _DICTIONARY_BATCH:
        data_at = batch.field(1)
        if data_at is None:
            return
        batch = _Table(metadata, data_at + _u32(metadata, data_at))
    buffers_at = batch.field(2)
    if batch.field(3) is None or buffers_at is None:
        return
    vector = buffers_at + _u32(metadata, buffers_at)
    for index in range(_u32(metadata, vector)):
        yield struct.unpack_from("<qq", metadata, vector + 4 + 16 * index)


class _Table:
    """A table of FlatBuffers at a position."""

    def __init__(self, data: bytes, at: int):
        self._data = data
        self._at = at
        (back,) = struct.unpack_from("<i", data, at)
        self._vtable = at - back
        (self._size,) = struct.unpack_from("<H", data, self._vtable)

    def field(self, index: int) -> int | None:
        """Where a field's value is; None when it is left out."""
        entry = 4 + 2 * index
        if entry >= self._size:
            return None
        (offset,) = struct.unpack_from("<H", self._data, self._vtable + entry)
        return self._at + offset if offset else None


def _u32(data: bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", data, at)[0]
    return value
