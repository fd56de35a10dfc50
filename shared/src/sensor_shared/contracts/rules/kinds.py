"""The words that rules are written in: metrics, kinds of alert, severities, durations."""

import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Metric = Literal["temperature", "humidity", "pressure"]

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def _seconds(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    match = _DURATION.fullmatch(given.strip())
    if match is None:
        raise ValueError("must be seconds, or a number with ms, s, m, h or d, e.g. 30s or 5m")
    return float(match[1]) * _SECONDS[match[2]]


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=30 * 86_400)]
"""Seconds; written as a number of them, or as text like `500ms`, `30s`, `5m`, `1h`, `7d`."""


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

    @property
    def rank(self) -> int:
        """1 for LOW to 4 for CRITICAL, as the gRPC contract and the tables number them."""
        return _RANKS[self]


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity, start=1)}


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
