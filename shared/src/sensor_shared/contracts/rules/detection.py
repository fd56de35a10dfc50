"""Breaches: readings that a rule's threshold alone shows to be wrong, found without any state."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sensor_shared.contracts.readings import UNITS
from sensor_shared.contracts.rules.kinds import AlertType, Metric, Severity
from sensor_shared.contracts.rules.rule import AlertRule

Applies = Callable[[AlertRule, str, str | None], bool]
"""Whether a rule is the one that holds for a device (its id, its region)."""

_MOST: Final = np.fmax.reduce
_LEAST: Final = np.fmin.reduce


def alert_id(device_id: str, rule_id: str, timestamp_ms: int) -> str:
    """The same reading and rule give the same id, whoever reports them and however often."""
    about = f"{device_id}\0{rule_id}\0{timestamp_ms}"
    return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Breach:
    """The worst reading of one device in one event that breaks a rule."""

    device_id: str
    rule_id: str
    alert_type: AlertType
    metric: Metric
    value: float
    threshold: float
    severity: Severity
    timestamp_ms: int
    latitude: float | None
    longitude: float | None
    region: str | None

    @property
    def alert_id(self) -> str:
        """Derived from what the breach is about: see `alert_id`."""
        return alert_id(self.device_id, self.rule_id, self.timestamp_ms)

    @property
    def message(self) -> str:
        """One sentence for people."""
        unit = UNITS[self.metric]
        return (
            f"{self.device_id}: {self.metric} {self.value:g} {unit} "
            f"breaks the limit of {self.threshold:g} {unit}"
        )


class Detector:
    """Tests batches against the thresholds of rules.

    A batch costs two reductions over each metric that has rules, however many these are; scopes
    are asked about for readings beyond a threshold alone.

    Args:
        rules: those whose threshold one reading can break.
        applies: says whose rule holds for a device.
    """

    def __init__(self, rules: Iterable[AlertRule], applies: Applies):
        self._applies = applies
        self._by_metric: dict[Metric, list[AlertRule]] = {}
        for rule in rules:
            self._by_metric.setdefault(rule.metric, []).append(rule)
        self._limits = [
            (
                metric,
                min((r.above for r in rules if r.above is not None), default=None),
                max((r.below for r in rules if r.below is not None), default=None),
            )
            for metric, rules in self._by_metric.items()
        ]

    def breaches(self, batch: pa.RecordBatch) -> list[Breach]:
        """Tests every reading of a batch (`readings.SCHEMA`).

        Returns:
            At most one breach per device and rule: the one with the largest excess.
        """
        if not batch.num_rows:
            return []
        found: list[Breach] = []
        for metric, above, below in self._limits:
            values: npt.NDArray[np.float64] = batch.column(metric).to_numpy(zero_copy_only=False)
            # Missing values are NaN, which no comparison lets through.
            if (above is not None and _MOST(values) > above) or (
                below is not None and _LEAST(values) < below
            ):
                for rule in self._by_metric[metric]:
                    found += self._broken(rule, values, batch)
        return found

    def _broken(
        self, rule: AlertRule, values: npt.NDArray[np.float64], batch: pa.RecordBatch
    ) -> list[Breach]:
        mask = values > rule.threshold if rule.above is not None else values < rule.threshold
        rows = np.flatnonzero(mask)
        if not rows.size:
            return []
        hits = batch.take(pa.array(rows))
        moments: list[int] = hits.column("timestamp").cast(pa.int64()).to_pylist()
        worst: dict[str, Breach] = {}
        unwatched: set[tuple[str, str | None]] = set()
        for row, timestamp_ms in zip(
            hits.drop_columns("timestamp").to_pylist(), moments, strict=True
        ):
            self._keep_worst(rule, row, timestamp_ms, worst, unwatched)
        return list(worst.values())

    def _keep_worst(
        self,
        rule: AlertRule,
        row: dict[str, Any],
        timestamp_ms: int,
        worst: dict[str, Breach],
        unwatched: set[tuple[str, str | None]],
    ) -> None:
        value, who = float(row[rule.metric]), (row["device_id"], row["region"])
        seen = worst.get(row["device_id"])
        if who in unwatched or (seen is not None and rule.excess(seen.value) >= rule.excess(value)):
            return
        if not self._applies(rule, *who):
            unwatched.add(who)
            return
        worst[row["device_id"]] = Breach(
            device_id=row["device_id"],
            rule_id=rule.id,
            alert_type=rule.alert_type,
            metric=rule.metric,
            value=value,
            threshold=rule.threshold,
            severity=rule.severity_of(value),
            timestamp_ms=timestamp_ms,
            latitude=row["latitude"],
            longitude=row["longitude"],
            region=row["region"],
        )
