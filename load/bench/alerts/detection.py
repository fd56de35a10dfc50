"""What the test against the default rules costs, per reading."""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from sensor_shared.contracts.readings import SCHEMA
from sensor_shared.contracts.rules import load_rules

RULES = Path(__file__).parents[3] / "configs" / "alert-rules.yaml"
_ROUNDS = 7
_READINGS = 600_000
"""Of one round."""


def cost(rows: int, hot_share: float = 0.0) -> float:
    """Returns microseconds of CPU per reading in batches of so many rows, the best of some rounds.

    Args:
        rows: of a batch.
        hot_share: of its readings that break a rule.
    """
    rules = load_rules(RULES)
    batch = batch_of(rows, hot_share)
    calls = max(1, _READINGS // rows)
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.process_time_ns()
        for _ in range(calls):
            rules.breaches(batch)
        best = min(best, (time.process_time_ns() - started) / 1000 / (calls * rows))
    return best


def batch_of(rows: int, hot_share: float) -> pa.RecordBatch:
    """Returns readings of as many devices; the first ones break a rule."""
    temperature = np.full(rows, 21.5)
    temperature[: round(rows * hot_share)] = 96.0
    columns = {
        "device_id": [f"weather_station_{number:06}" for number in range(rows)],
        "timestamp": [datetime(2026, 11, 23, tzinfo=UTC)] * rows,
        "temperature": temperature,
        "humidity": np.full(rows, 55.0),
        "pressure": np.full(rows, 1010.0),
        "status": ["active"] * rows,
        "latitude": np.full(rows, 40.1),
        "longitude": np.full(rows, 27.5),
        "region": ["west"] * rows,
    }
    return pa.RecordBatch.from_pydict(columns, SCHEMA)
