"""The rules that a reading must keep, vectorised over the columns of one event."""

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sensor_shared.contracts.readings.model import (
    LIMITS,
    MAX_AHEAD_MS,
    MAX_REGION_LENGTH,
    METRICS,
    MISSING,
    RETENTION_MS,
    SCHEMA,
    STATUSES,
    Reject,
)

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_DEVICE_ID = re.compile(r"[A-Za-z0-9\-_.:]{1,128}")
_ID_BYTES = (string.ascii_letters + string.digits + "-_.:").encode()
_ID_LENGTHS = range(1, 129)
_STATUSES = pa.array(STATUSES)
_INFINITE = float("inf")
_LEAST, _MOST = np.fmin.reduce, np.fmax.reduce

DETAILS = {
    "invalid_device_id": "device_id must be 1 to 128 of letters, digits, '_', '-', '.', ':'",
    "invalid_timestamp": "timestamp must be RFC 3339 with an offset, or epoch milliseconds",
    "timestamp_in_future": f"timestamp is more than {MAX_AHEAD_MS // 60_000} minutes ahead",
    "timestamp_too_old": f"timestamp is older than {RETENTION_MS // 86_400_000} days",
    "no_measurement": "temperature, humidity and pressure are all missing, NaN or -999",
    "invalid_status": f"status must be one of {', '.join(STATUSES)}",
    "invalid_location": (
        "location needs latitude -90 to 90 and longitude -180 to 180, both or neither, "
        f"and a region of at most {MAX_REGION_LENGTH} characters"
    ),
    **{f"invalid_{metric}": f"{metric} must be a number" for metric in METRICS},
    **{
        f"{metric}_out_of_range": f"{metric} must be between {low:g} and {high:g}"
        for metric, (low, high) in LIMITS.items()
    },
}


@dataclass(slots=True)
class Columns:
    """The readings of one event, as far as they could be read, row by row.

    Numbers are NaN and strings are null where nothing was given; `faults` marks rows whose
    value was there but could not be read, by reason.
    """

    device_id: pa.StringArray
    timestamp: npt.NDArray[np.int64]
    metrics: dict[str, Floats]
    status: pa.StringArray
    latitude: Floats
    longitude: Floats
    region: pa.StringArray
    faults: dict[str, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.timestamp)


@dataclass(slots=True)
class Parsed:
    """What a form of data (JSON, Arrow) could be read as.

    Attributes:
        columns: the readings.
        positions: the position in the event of each row of the columns.
        raw: returns the original bytes of the readings at some positions, ascending; called once,
            for rejects.
        rejects: what could not even become a row.
        unknown_fields: how many fields were ignored.
        size: bytes that it takes for as long as it is kept.
    """

    columns: Columns
    positions: Sequence[int]
    raw: Callable[[Sequence[int]], list[bytes]]
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: int = 0
    size: int = 0


def check(columns: Columns, now_ms: int) -> tuple[pa.RecordBatch, list[tuple[str, Mask]]]:
    """Returns all readings as a batch of `SCHEMA`, and which of them break each rule.

    Rules that no reading breaks are left out; nearly always all are.

    Args:
        columns: readings; those that break a rule may be anything.
        now_ms: the time of arrival, epoch milliseconds.
    """
    _forget_missing(columns)
    rules = [(name, mask) for name, mask in _rules(columns, now_ms) if mask is not None]
    return _to_batch(columns), rules


def _forget_missing(columns: Columns) -> None:
    for metric, values in columns.metrics.items():
        missing = values == MISSING
        if missing.any():
            columns.metrics[metric] = np.where(missing, np.nan, values)


def _rules(columns: Columns, now_ms: int) -> list[tuple[str, Mask | None]]:
    """All rules in the order in which they are reported; None for what no reading breaks."""
    timestamp = columns.timestamp
    return [
        ("invalid_device_id", _bad_device_ids(columns.device_id)),
        *columns.faults.items(),
        ("timestamp_in_future", _outside(timestamp, -_INFINITE, now_ms + MAX_AHEAD_MS)),
        ("timestamp_too_old", _outside(timestamp, now_ms - RETENTION_MS, _INFINITE)),
        *(
            (f"{metric}_out_of_range", _outside(values, *LIMITS[metric]))
            for metric, values in columns.metrics.items()
        ),
        ("no_measurement", _without_measurement(columns)),
        ("invalid_status", _bad_status(columns.status)),
        ("invalid_location", _bad_location(columns)),
    ]


def _outside(values: Floats | npt.NDArray[np.int64], low: float, high: float) -> Mask | None:
    """Which values are; NaN is not. Two reductions tell of a whole column that none is."""
    if not len(values) or (_LEAST(values) >= low and _MOST(values) <= high):
        return None
    mask: Mask = (values < low) | (values > high)
    return mask


def _without_measurement(columns: Columns) -> Mask | None:
    nothing: Mask = np.ones(len(columns), dtype=np.bool_)
    for values in columns.metrics.values():
        missing = np.isnan(values)
        if not missing.any():
            return None
        nothing &= missing
    return nothing


def _bad_status(status: pa.StringArray) -> Mask | None:
    known = pc.is_in(status, value_set=_STATUSES)
    return None if known.true_count == len(known) else ~_truth(known)


def _bad_device_ids(ids: pa.StringArray) -> Mask | None:
    if not ids.null_count and len(ids):
        # Nearly always none is: asked at once, of the bytes that Arrow holds them in.
        _, offsets, text = ids.buffers()
        bounds = np.frombuffer(offsets, np.int32, len(ids) + 1, ids.offset * 4)
        lengths = np.diff(bounds)
        if lengths.min() in _ID_LENGTHS and lengths.max() in _ID_LENGTHS:
            together = memoryview(text)[bounds[0] : bounds[-1]].tobytes()
            if not together.translate(None, _ID_BYTES):
                return None
    return ~np.fromiter(map(_is_device_id, ids.to_pylist()), dtype=np.bool_, count=len(ids))


@lru_cache(maxsize=100_000)
def _is_device_id(device_id: str | None) -> bool:
    # The same devices send again every second: remembered, this costs a look-up instead of a match.
    return device_id is not None and _DEVICE_ID.fullmatch(device_id) is not None


def _bad_location(columns: Columns) -> Mask | None:
    latitude, longitude = columns.latitude, columns.longitude
    half = np.isnan(latitude) != np.isnan(longitude)
    masks = [
        half if half.any() else None,
        _outside(latitude, -90, 90),
        _outside(longitude, -180, 180),
        _long(columns.region),
    ]
    broken = [mask for mask in masks if mask is not None]
    return np.logical_or.reduce(broken) if broken else None


def _long(region: pa.StringArray) -> Mask | None:
    # No text has more characters than bytes.
    if (pc.max(pc.binary_length(region)).as_py() or 0) <= MAX_REGION_LENGTH:
        return None
    return _truth(pc.greater(pc.utf8_length(region), MAX_REGION_LENGTH))


def _truth(mask: pa.BooleanArray) -> Mask:
    """An Arrow mask as numpy, null counted as false."""
    known = pc.fill_null(mask, fill_value=False) if mask.null_count else mask
    result: Mask = known.to_numpy(zero_copy_only=False)
    return result


def _to_batch(columns: Columns) -> pa.RecordBatch:
    def floats(values: Floats) -> pa.DoubleArray:
        return pa.array(values, from_pandas=True)

    return pa.RecordBatch.from_arrays(
        [
            columns.device_id,
            pa.array(columns.timestamp).view(pa.timestamp("ms", "UTC")),
            *(floats(columns.metrics[metric]) for metric in METRICS),
            columns.status,
            floats(columns.latitude),
            floats(columns.longitude),
            columns.region,
        ],
        schema=SCHEMA,
    )
