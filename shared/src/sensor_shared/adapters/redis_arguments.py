"""Arrow columns as the arguments of one Redis command, encoded a column at a time.

With thousands of arguments their encoding, one by one, costs more than Redis takes for them.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sensor_shared.adapters.redis import Encoded


def encoded(*columns: pa.Array) -> Encoded:
    """Returns the values of binary or text columns, one column after the other, as bulk strings.

    None of them may be null.
    """
    return Encoded(sum(len(column) for column in columns), b"".join(map(_bulk, columns)))


def _bulk(column: pa.Array) -> bytes:
    values = column.cast(pa.binary())
    lengths = pc.binary_length(values).dictionary_encode()  # there are few of them
    heads = pa.array([b"$%d" % length for length in lengths.dictionary.to_pylist()], pa.binary())
    joined: Any = pc.binary_join_element_wise(heads.take(lengths.indices), values, b"", b"\r\n")
    # What is asked of the values one after the other is what their buffer holds.
    _, offsets, data = joined.buffers()
    if data is None:
        return b""
    ends = memoryview(offsets).cast("i")
    return bytes(memoryview(data)[ends[joined.offset] : ends[joined.offset + len(joined)]])
