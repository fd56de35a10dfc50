"""Measures how long readings take to each stage, counted from their own time."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sensor_consumer.delivery import Delivery
from sensor_shared.telemetry import metrics

HORIZON_MS: Final = 300_000
"""Older readings are history (replayed, or kept back by their device), not slowness of ours."""


class Stages:
    """Fills the histograms of latency, a whole group at a time.

    Args:
        now_ms: the time, epoch milliseconds.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000):
        self._now_ms = now_ms
        self._delivered = metrics.DELIVERED_LATENCY.labels("consumer")

    def stored(self, group: Sequence[Delivery], batch: pa.RecordBatch) -> None:
        """Counts what ClickHouse has acknowledged; `batch` holds the group's readings in order."""
        moments = _moments(batch)
        arrivals = np.repeat(
            [delivery.arrived_ms for delivery in group],
            [delivery.batch.num_rows for delivery in group],
        )
        metrics.observe_all(self._delivered, _latencies(arrivals - moments))
        metrics.observe_all(metrics.STORED_LATENCY, _latencies(self._now_ms() - moments))
        metrics.READINGS_STORED.inc(batch.num_rows)
        metrics.INSERT_ROWS.observe(batch.num_rows)

    def kept(self, group: Sequence[Delivery]) -> None:
        """Counts the rejects that ClickHouse has acknowledged."""
        reasons = Counter(reject.reason for delivery in group for reject in delivery.rejects)
        for reason, count in reasons.items():
            metrics.READINGS_REJECTED.labels(reason).inc(count)

    def visible(self, batch: pa.RecordBatch) -> None:
        """Counts what Redis holds now."""
        metrics.observe_all(metrics.VISIBLE_LATENCY, _latencies(self._now_ms() - _moments(batch)))


def _moments(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    moments: Any = batch.column("timestamp").cast(pa.int64()).to_numpy()
    return np.asarray(moments, dtype=np.int64)


def _latencies(ages: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """A device's clock that is ahead makes no time less than none."""
    return np.maximum(ages[ages <= HORIZON_MS], 0).astype(np.float64)
