"""Separates the valid readings of an event from its rejects."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sensor_shared.contracts.readings.model import METRICS, Reject
from sensor_shared.contracts.readings.validation import (
    DETAILS,
    Columns,
    Floats,
    Mask,
    Parsed,
    check,
)


def split(parsed: Parsed, now_ms: int) -> tuple[pa.RecordBatch, list[Reject]]:
    """Separates valid readings from rejects.

    Args:
        parsed: what an event held.
        now_ms: the time of arrival, epoch milliseconds.

    Returns:
        The valid readings as a batch of `SCHEMA`, and a reject for each other one, with the
        first rule that it breaks, in the order of the event.
    """
    return _separate(parsed, *check(parsed.columns, now_ms))


def split_all(parsed: Sequence[Parsed], now_ms: int) -> list[tuple[pa.RecordBatch, list[Reject]]]:
    """Separates the readings of many events as `split` does those of each, all in one check.

    Args:
        parsed: what each event held, without faults in its columns; at least one event.
        now_ms: the time of arrival, epoch milliseconds.
    """
    batch, rules = check(_joined([one.columns for one in parsed]), now_ms)
    found, start = [], 0
    for one in parsed:
        end = start + len(one.columns)
        broken = [(name, mask[start:end]) for name, mask in rules if mask[start:end].any()]
        found.append(_separate(one, batch.slice(start, end - start), broken))
        start = end
    return found


def _joined(parts: Sequence[Columns]) -> Columns:
    def texts(of: Callable[[Columns], pa.StringArray]) -> pa.StringArray:
        return pa.concat_arrays([of(part) for part in parts])

    def numbers(of: Callable[[Columns], Floats]) -> Floats:
        return np.concatenate([of(part) for part in parts])

    return Columns(
        device_id=texts(lambda part: part.device_id),
        timestamp=np.concatenate([part.timestamp for part in parts]),
        metrics={
            metric: np.concatenate([part.metrics[metric] for part in parts]) for metric in METRICS
        },
        status=texts(lambda part: part.status),
        latitude=numbers(lambda part: part.latitude),
        longitude=numbers(lambda part: part.longitude),
        region=texts(lambda part: part.region),
    )


def _separate(
    parsed: Parsed, batch: pa.RecordBatch, rules: Sequence[tuple[str, Mask]]
) -> tuple[pa.RecordBatch, list[Reject]]:
    if not rules:
        return batch, parsed.rejects
    columns = parsed.columns
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


def _first_broken(rules: Sequence[tuple[str, Mask]], rows: int) -> npt.NDArray[np.int64]:
    """Index of the first rule that each row breaks, -1 where it breaks none."""
    first = np.full(rows, -1, dtype=np.int64)
    for index in reversed(range(len(rules))):
        first[rules[index][1]] = index
    return first
