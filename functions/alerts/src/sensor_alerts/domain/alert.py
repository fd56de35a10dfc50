"""An alert as it is kept: what others see of it, and what only the alert service knows."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from sensor_shared.contracts.alert_changes import AlertSnapshot, AlertState
from sensor_shared.contracts.alerts import AlertRequested
from sensor_shared.contracts.readings import device_type
from sensor_shared.contracts.rules import Rules, Severity, SeveritySteps

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_AHEAD: Final = timedelta(days=1)


class InvalidRequestError(ValueError):
    """The request cannot be taken; the text says what is wrong with it."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is kept.

    Attributes:
        alert: what others see.
        pending: its rule asks for more than one reading, and it is no alert yet; with the state
            CLEARED it never became one.
        email_sent: whether a mail server took a mail about it.
        dirty: whether breaches have joined since it was stored.
        processed_at: when the first breach was taken.
        updated_at: when it was stored last.
    """

    alert: AlertSnapshot
    pending: bool = False
    email_sent: bool = False
    dirty: bool = False
    processed_at: datetime
    updated_at: datetime

    @property
    def open(self) -> bool:
        """Whether it is an alert, and not over."""
        return self.alert.state is AlertState.OPEN and not self.pending

    @property
    def live(self) -> bool:
        """Whether it is open or may become so."""
        return self.alert.state is AlertState.OPEN

    @property
    def first_ms(self) -> int:
        """When its first breach was measured, epoch milliseconds."""
        return epoch_ms(self.alert.first_at)

    @property
    def settled_ms(self) -> int:
        """A breach that was measured at this moment or earlier changes nothing any more."""
        over = self.alert.cleared_at if self.alert.state is AlertState.CLEARED else None
        return epoch_ms(over or self.alert.last_at)


def severity_of(number: int) -> Severity:
    """Returns the severity of a rank."""
    return list(Severity)[number - 1]


def epoch_ms(moment: datetime) -> int:
    """Returns a moment as epoch milliseconds."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """Returns a moment in UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def breach(request: AlertRequested, rules: Rules, now: datetime) -> AlertSnapshot:
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
    measured = from_ms(epoch_ms(request.timestamp))
    return AlertSnapshot(
        alert_id=request.alert_id,
        device_id=request.device_id,
        rule_id=request.rule,
        alert_type=request.alert_type,
        severity=request.severity or _severity(request, rules),
        message=request.message or _message(request),
        metric=request.metric or "",
        value=request.value,
        threshold=request.threshold,
        region=place.region or "",
        device_type=device_type(request.device_id),
        latitude=place.latitude,
        longitude=place.longitude,
        first_at=measured,
        last_at=measured,
        metadata=request.metadata,
    )


def _severity(request: AlertRequested, rules: Rules) -> Severity:
    """By the excess over the threshold, with the rule's steps; LOW when there is no value."""
    if request.value is None or request.threshold is None:
        return Severity.LOW
    rule = rules.rule(request.rule)
    if rule is not None:
        return rule.severity_of(request.value)
    return SeveritySteps().severity(abs(request.value - request.threshold))


def _message(request: AlertRequested) -> str:
    what = request.alert_type.value.replace("_", " ").lower()
    return f"{request.device_id}: {what}"
