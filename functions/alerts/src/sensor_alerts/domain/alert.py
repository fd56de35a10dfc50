"""An alert as it is recorded, and how further breaches change it."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from sensor_shared.contracts.alerts import AlertRequested
from sensor_shared.contracts.rules import AlertType, Rules, Severity, SeveritySteps

_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity, start=1)}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_AHEAD: Final = timedelta(days=1)


def rank(severity: Severity) -> int:
    """Returns 1 for LOW to 4 for CRITICAL, as the contract and the table number them."""
    return _RANKS[severity]


def severity_of(number: int) -> Severity:
    """Returns the severity of a rank."""
    return list(Severity)[number - 1]


class InvalidRequestError(ValueError):
    """The request cannot be taken; the text says what is wrong with it."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert with the state that the last breach gave it.

    Attributes:
        rule_id: empty when the request named no rule; then it stands for itself.
        value: what was measured last, in the metric's unit; None: not about a value.
        severity: the highest that it had; `message` is that of the breach that gave it.
        timestamp: when the first reading was measured, UTC with milliseconds.
        last_ms: when the last reading was measured, epoch milliseconds.
        processed_at: when the first breach was taken.
        count: of breaches.
        version: of what is recorded; a higher one replaces a lower one.
    """

    alert_id: str
    device_id: str
    rule_id: str
    alert_type: AlertType
    severity: Severity
    message: str
    metric: str
    value: float | None
    threshold: float | None
    latitude: float | None
    longitude: float | None
    region: str
    timestamp: datetime
    last_ms: int
    processed_at: datetime
    metadata: dict[str, str]
    email_sent: bool = False
    count: int = 1
    version: int = 1

    @property
    def timestamp_ms(self) -> int:
        """`timestamp` as epoch milliseconds."""
        return epoch_ms(self.timestamp)

    @property
    def episode(self) -> str:
        """What, with the device, tells which breaches are the same alert."""
        return f"rule:{self.rule_id}" if self.rule_id else f"alert:{self.alert_id}"

    @property
    def subject(self) -> str:
        """What, with the device, people are not told about again and again."""
        return self.rule_id or self.alert_type.value

    def covers(self, other: "Alert", window_ms: int) -> bool:
        """Tells whether `other` is this alert, or a breach that belongs to it."""
        if self.device_id != other.device_id:
            return False
        if self.alert_id == other.alert_id:
            return True
        return self.episode == other.episode and (
            self.timestamp_ms - window_ms <= other.timestamp_ms <= self.last_ms + window_ms
        )

    def joined_by(self, breach: "Alert") -> "Alert":
        """Returns this alert after a further breach; one measured earlier is only counted."""
        later = breach.timestamp_ms > self.last_ms
        worse = rank(breach.severity) > rank(self.severity)
        return msgspec.structs.replace(
            self,
            last_ms=max(self.last_ms, breach.timestamp_ms),
            value=breach.value if later else self.value,
            severity=breach.severity if worse else self.severity,
            message=breach.message if worse else self.message,
            count=self.count + 1,
            version=self.version + 1,
        )


def epoch_ms(moment: datetime) -> int:
    """Returns a moment as epoch milliseconds."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def opened(request: AlertRequested, rules: Rules, now: datetime) -> Alert:
    """Returns the alert that a request opens when it belongs to no other.

    Raises:
        InvalidRequestError: for numbers that are none and moments that cannot be.
    """
    place = request.location
    for name, number in (
        ("value", request.value),
        ("threshold", request.threshold),
        ("location.latitude", place.latitude),
        ("location.longitude", place.longitude),
    ):
        if number is not None and not math.isfinite(number):
            raise InvalidRequestError(f"{name} must be a finite number")
    if not _EPOCH <= request.timestamp <= now + _MAX_AHEAD:
        raise InvalidRequestError("timestamp must be after 1970 and not over a day ahead")
    timestamp = _EPOCH + timedelta(milliseconds=epoch_ms(request.timestamp))
    return Alert(
        alert_id=request.alert_id,
        device_id=request.device_id,
        rule_id=request.rule,
        alert_type=request.alert_type,
        severity=request.severity or _severity(request, rules),
        message=request.message or _message(request),
        metric=request.metric or "",
        value=request.value,
        threshold=request.threshold,
        latitude=place.latitude,
        longitude=place.longitude,
        region=place.region or "",
        timestamp=timestamp,
        last_ms=epoch_ms(timestamp),
        processed_at=now,
        metadata=request.metadata,
    )


def _severity(request: AlertRequested, rules: Rules) -> Severity:
    """By the excess over the threshold, with the rule's steps; LOW when there is no value."""
    if request.value is None or request.threshold is None:
        return Severity.LOW
    for rule in rules.rules:
        if rule.id == request.rule:
            return rule.severity.severity(rule.excess(request.value))
    return SeveritySteps().severity(abs(request.value - request.threshold))


def _message(request: AlertRequested) -> str:
    what = request.alert_type.value.replace("_", " ").lower()
    return f"{request.device_id}: {what}"
