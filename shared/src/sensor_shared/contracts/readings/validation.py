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

DETAILS = {
    "invalid_device_id": "device_id must be 1 to 128 of letters, digits, '_', '-', '.', ':'",
    "invalid_timestamp": "timestamp must be RFC 3339 with an offset, or epoch milliseconds",
    "timestamp_in_future": f"timestamp is more than {MAX_AHEAD_MS // 60_000} minutes ahead",
    "timestamp_too_old": f"timestamp is older than {RETENTION_MS // 86_400_000} days",
    "no_measurement": "temperature, humidity and pressure are all missing",
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
    """

    columns: Columns
    positions: Sequence[int]
    raw: Callable[[Sequence[int]], list[bytes]]
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: int = 0


def split(parsed: Parsed, now_ms: int) -> tuple[pa.RecordBatch, list[Reject]]:
    """Separates valid readings from rejects.

    Args:
        parsed: what an event held.
        now_ms: the time of arrival, epoch milliseconds.

    Returns:
        The valid readings as a batch of `SCHEMA`, and a reject for each other one, with the
        first rule that it breaks, in the order of the event.
    """
    columns = parsed.columns
    batch, rules = check(columns, now_ms)
    broken = _first_broken(rules, len(columns))
    valid = broken < 0
    if valid.all():
        return batch, parsed.rejects
    bad = np.flatnonzero(~valid)
    positions = [parsed.positions[row] for row in bad.tolist()]
    reasons = [rules[index][0] for index in broken[bad].tolist()]
    ids = columns.device_id.take(pa.array(bad)).to_pylist()
    rejects = [
        Reject(position, reason, DETAILS[reason], (device_id or "")[:128], raw)
        for position, reason, device_id, raw in zip(
            positions, reasons, ids, parsed.raw(positions), strict=True
        )
    ]
    rejects = sorted(parsed.rejects + rejects, key=lambda reject: reject.position)
    return batch.filter(pa.array(valid)), rejects


def check(columns: Columns, now_ms: int) -> tuple[pa.RecordBatch, list[tuple[str, Mask]]]:
    """Returns all readings as a batch of `SCHEMA`, and which of them break each rule.

    Args:
        columns: readings; those that break a rule may be anything.
        now_ms: the time of arrival, epoch milliseconds.
    """
    _forget_missing(columns)
    return _to_batch(columns), _rules(columns, now_ms)


def _forget_missing(columns: Columns) -> None:
    for metric, values in columns.metrics.items():
        missing = values == MISSING
        if missing.any():
            columns.metrics[metric] = np.where(missing, np.nan, values)


def _first_broken(rules: Sequence[tuple[str, Mask]], rows: int) -> npt.NDArray[np.int64]:
    """Index of the first rule that each row breaks, -1 where it breaks none."""
    first = np.full(rows, -1, dtype=np.int64)
    for index in reversed(range(len(rules))):
        first[rules[index][1]] = index
    return first


def _rules(columns: Columns, now_ms: int) -> list[tuple[str, Mask]]:
    """The broken rules in the order in which they are reported."""
    timestamp, faults = columns.timestamp, columns.faults
    rules: list[tuple[str, Mask]] = [
        ("invalid_device_id", ~_are_device_ids(columns.device_id)),
    ]
    rules += faults.items()
    rules += [
        ("timestamp_in_future", timestamp > now_ms + MAX_AHEAD_MS),
        ("timestamp_too_old", timestamp < now_ms - RETENTION_MS),
    ]
    nothing: Mask = np.ones(len(columns), dtype=np.bool_)
    for metric, values in columns.metrics.items():
        low, high = LIMITS[metric]
        rules.append((f"{metric}_out_of_range", (values < low) | (values > high)))
        nothing &= np.isnan(values)
    rules += [
        ("no_measurement", nothing),
        ("invalid_status", ~_truth(pc.is_in(columns.status, value_set=_STATUSES))),
        ("invalid_location", _bad_location(columns)),
    ]
    return rules


def _are_device_ids(ids: pa.StringArray) -> Mask:
    if not ids.null_count and len(ids):
        # Nearly always all are: asked at once, of the bytes that Arrow holds them in.
        _, offsets, text = ids.buffers()
        bounds = np.frombuffer(offsets, np.int32, len(ids) + 1, ids.offset * 4)
        lengths = np.diff(bounds)
        if lengths.min() in _ID_LENGTHS and lengths.max() in _ID_LENGTHS:
            together = memoryview(text)[bounds[0] : bounds[-1]].tobytes()
            if not together.translate(None, _ID_BYTES):
                return np.ones(len(ids), dtype=np.bool_)
    return np.fromiter(map(_is_device_id, ids.to_pylist()), dtype=np.bool_, count=len(ids))


@lru_cache(maxsize=100_000)
def _is_device_id(device_id: str | None) -> bool:
    # The same devices send again every second: remembered, this costs a look-up instead of a match.
    return device_id is not None and _DEVICE_ID.fullmatch(device_id) is not None


def _bad_location(columns: Columns) -> Mask:
    latitude, longitude = columns.latitude, columns.longitude
    half = np.isnan(latitude) != np.isnan(longitude)
    outside = (np.abs(latitude) > 90) | (np.abs(longitude) > 180)
    long = _truth(pc.greater(pc.utf8_length(columns.region), MAX_REGION_LENGTH))
    bad: Mask = half | outside | long
    return bad


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
            pa.array(columns.timestamp).cast(pa.timestamp("ms", "UTC")),
            *(floats(columns.metrics[metric]) for metric in METRICS),
            columns.status,
            floats(columns.latitude),
            floats(columns.longitude),
            columns.region,
        ],
        schema=SCHEMA,
    )
