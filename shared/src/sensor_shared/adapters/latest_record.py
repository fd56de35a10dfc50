"""One reading as Redis holds it: a few bytes that are compared, kept and sent often, read seldom.

A record is the reading's epoch milliseconds in 13 digits, its three metrics, status and place as
little-endian numbers (NaN where nothing was given), and its region's name. It takes a quarter of
the bytes of the JSON document that is made of it for each answer.
"""

import struct
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensor_shared.contracts.readings import METRICS, STATUSES
from sensor_shared.contracts.readings.document import Location, ReadingDocument

DIGITS: Final = 13
"""With which a record begins: as many for every moment from 2001 to 2286, so they sort as text."""

_FIXED: Final = np.dtype(
    [("moment", f"S{DIGITS}"), ("metrics", "<f8", 3), ("place", "<f8", 2), ("flags", "u1")]
)
_POWERS: Final = 10 ** np.arange(DIGITS - 1, -1, -1)
_FLAGS_AT: Final = _FIXED.itemsize - 1
_NUMBERS: Final = struct.Struct("<5dB")
"""What follows the digits, for one record: numpy takes four times as long to read one."""
_STATUS_BITS: Final = 0x0F
_WITH_REGION: Final = 0x10
_STATUSES: Final = pa.array(STATUSES)


def encode(batch: pa.RecordBatch) -> pa.Array:
    """Returns the records of a batch of readings (`readings.SCHEMA`) as binary, in its order."""
    fixed = np.zeros(batch.num_rows, _FIXED)
    fixed["moment"] = _digits(batch.column("timestamp").cast(pa.int64()).to_numpy())
    for at, name in enumerate(METRICS):
        fixed["metrics"][:, at] = batch.column(name).to_numpy(zero_copy_only=False)
    for at, name in enumerate(("latitude", "longitude")):
        fixed["place"][:, at] = batch.column(name).to_numpy(zero_copy_only=False)
    region = batch.column("region")
    known: Any = region.is_valid().to_numpy(zero_copy_only=False)
    status: Any = pc.index_in(batch.column("status"), value_set=_STATUSES).to_numpy()
    fixed["flags"] = status + known * _WITH_REGION
    numbers = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(_FIXED.itemsize), batch.num_rows, [None, pa.py_buffer(fixed.tobytes())]
    )
    names = region.fill_null("").cast(pa.binary())
    return pc.binary_join_element_wise(numbers.cast(pa.binary()), names, b"")


def _digits(moments: Any) -> Any:
    """Returns numbers as text, at half of what NumPy's own cast costs."""
    digits = (moments[:, None] // _POWERS) % 10 + ord("0")
    return digits.astype(np.uint8).view(f"S{DIGITS}").ravel()


def decode(device_id: str, record: bytes) -> ReadingDocument:
    """Returns the reading that a record was made of."""
    *numbers, flags = _NUMBERS.unpack_from(record, DIGITS)
    region = record[_FIXED.itemsize :].decode() if flags & _WITH_REGION else None
    temperature, humidity, pressure, latitude, longitude = map(_number, numbers)
    return ReadingDocument(
        device_id=device_id,
        timestamp=_timestamp(moment(record)),
        temperature=temperature,
        humidity=humidity,
        pressure=pressure,
        status=STATUSES[flags & _STATUS_BITS],
        location=Location(latitude, longitude, region),
    )


def status(record: bytes) -> str:
    """Returns the status of a record, one of `STATUSES`."""
    return STATUSES[record[_FLAGS_AT] & _STATUS_BITS]


def moment(record: bytes) -> int:
    """Returns the epoch milliseconds of a record."""
    return int(record[:DIGITS])


def region_of(record: bytes) -> str | None:
    """Returns the name of a record's region, None where there is none."""
    known = record[_FLAGS_AT] & _WITH_REGION
    return record[_FIXED.itemsize :].decode() if known else None


def _timestamp(epoch_ms: int) -> str:
    """Writes RFC 3339 as `rfc3339` does, in half its time."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).isoformat()
    return f"{text[:-6]}.{milliseconds:03}Z"


def _number(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124  (NaN)
