"""Alert rules as data: read, checked, and tested against a batch without any state."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Metric = Literal["temperature", "humidity", "pressure"]
UNITS: Final[dict[Metric, str]] = {"temperature": "°C", "humidity": "%", "pressure": "hPa"}


class AlertType(StrEnum):
    """Kinds of alert; names as in `twinup.alert.v1` without their prefix."""

    TEMPERATURE_HIGH = "TEMPERATURE_HIGH"
    TEMPERATURE_LOW = "TEMPERATURE_LOW"
    HUMIDITY_HIGH = "HUMIDITY_HIGH"
    HUMIDITY_LOW = "HUMIDITY_LOW"
    PRESSURE_ABNORMAL = "PRESSURE_ABNORMAL"
    DEVICE_OFFLINE = "DEVICE_OFFLINE"
    SENSOR_MALFUNCTION = "SENSOR_MALFUNCTION"


class Severity(StrEnum):
    """How bad an alert is, from least to worst."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class SeveritySteps(BaseModel):
    """Excess over the threshold, in the metric's unit, from which a severity holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    critical: float = 20.0
    high: float = 10.0
    medium: float = 5.0

    @model_validator(mode="after")
    def _steps_ascend(self) -> Self:
        if not 0 <= self.medium <= self.high <= self.critical:
            raise ValueError("severity steps must be 0 <= medium <= high <= critical")
        return self

    def severity(self, excess: float) -> Severity:
        """Returns the severity of a breach by `excess` over the threshold."""
        if excess >= self.critical:
            return Severity.CRITICAL
        if excess >= self.high:
            return Severity.HIGH
        return Severity.MEDIUM if excess >= self.medium else Severity.LOW


class AlertRule(BaseModel):
    """A threshold on one metric: breached strictly above `above`, or strictly below `below`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    alert_type: AlertType
    metric: Metric
    above: float | None = None
    below: float | None = None
    severity: SeveritySteps = SeveritySteps()

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"rule {self.id!r} needs exactly one of 'above' and 'below'")
        return self

    @property
    def threshold(self) -> float:
        """The limit, in the metric's unit."""
        if self.above is not None:
            return self.above
        assert self.below is not None  # noqa: S101  (the validator has seen to it)
        return self.below

    def excess(self, value: float) -> float:
        """How far `value` is beyond the threshold; positive when the rule is breached."""
        return value - self.threshold if self.above is not None else self.threshold - value


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


class Rules(BaseModel):
    """All rules; ids are unique."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[AlertRule, ...]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [rule.id for rule in self.rules]
        twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
        if twice:
            raise ValueError(f"rule ids used twice: {', '.join(twice)}")
        return self

    def breaches(self, batch: pa.RecordBatch) -> list[Breach]:
        """Tests every reading of a batch (`readings.SCHEMA`) against every rule.

        Returns:
            At most one breach per device and rule: the one with the largest excess.
        """
        return [breach for rule in self.rules for breach in _breaches(rule, batch)]


def _breaches(rule: AlertRule, batch: pa.RecordBatch) -> list[Breach]:
    values: npt.NDArray[np.float64] = batch.column(rule.metric).to_numpy(zero_copy_only=False)
    mask = values > rule.threshold if rule.above is not None else values < rule.threshold
    if not mask.any():
        return []
    worst: dict[str, Breach] = {}
    hits = batch.filter(pa.array(mask))
    timestamps = hits.column("timestamp").cast(pa.int64()).to_pylist()
    for row, timestamp_ms in zip(
        hits.drop_columns("timestamp").to_pylist(), timestamps, strict=True
    ):
        value = float(row[rule.metric])
        seen = worst.get(row["device_id"])
        if seen is not None and rule.excess(seen.value) >= rule.excess(value):
            continue
        worst[row["device_id"]] = Breach(
            device_id=row["device_id"],
            rule_id=rule.id,
            alert_type=rule.alert_type,
            metric=rule.metric,
            value=value,
            threshold=rule.threshold,
            severity=rule.severity.severity(rule.excess(value)),
            timestamp_ms=timestamp_ms,
            latitude=row["latitude"],
            longitude=row["longitude"],
            region=row["region"],
        )
    return list(worst.values())


class RulesError(ValueError):
    """The rules file cannot be used; the message names the file and each mistake."""


def load_rules(path: Path) -> Rules:
    """Reads and checks a rules file.

    Raises:
        RulesError: when the file cannot be read, is no YAML, or breaks the schema.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Rules.model_validate(document or {})
    except (OSError, yaml.YAMLError) as error:
        raise RulesError(f"{path}: {error}") from error
    except ValidationError as error:
        mistakes = "\n".join(
            f"  {'.'.join(str(part) for part in mistake['loc'])}: {mistake['msg']}"
            for mistake in error.errors(include_url=False)
        )
        raise RulesError(f"{path}:\n{mistakes}") from error
