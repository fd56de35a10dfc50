"""AlertService's messages to and from what the project works with."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from sensor_alerts.domain.alert import InvalidRequestError, Record, epoch_ms, severity_of
from sensor_shared.adapters.alert_contract import alert_type_number, severity_number, stamp
from sensor_shared.contracts.alerts import AlertRequested
from sensor_shared.contracts.rules import AlertType, Severity, alert_id
from twinup.alert.v1 import alert_pb2

_PREFIX: Final = "ALERT_TYPE_"
_METRICS: Final = {"TEMPERATURE": "temperature", "HUMIDITY": "humidity", "PRESSURE": "pressure"}
_OWN_METADATA: Final = ("rule", "metric")


def requested(message: alert_pb2.AlertRequest, now: datetime) -> AlertRequested:
    """Reads a request; what it leaves out is derived.

    `metadata` names the rule and the metric; without a timestamp it is taken as measured now,
    without an alert_id it gets one from device, rule (or type) and timestamp.

    Raises:
        InvalidRequestError: naming the field that is wrong, and why.
    """
    alert_type = alert_type_of(message.alert_type)
    if alert_type is None:
        raise InvalidRequestError("alert_type: must be one of AlertType")
    timestamp = moment(message, "timestamp") or now
    rule = message.metadata.get("rule", "")
    metric = message.metadata.get("metric") or _METRICS.get(alert_type.value.partition("_")[0])
    place = message.location if message.HasField("location") else None
    derived = alert_id(message.device_id, rule or alert_type.value, epoch_ms(timestamp))
    document: dict[str, Any] = {
        "alert_id": message.alert_id or derived,
        "device_id": message.device_id,
        "alert_type": alert_type.value,
        "timestamp": timestamp,
        "rule": rule,
        "message": message.message,
        "severity": severity_of_message(message.severity),
        "metric": metric,
        # proto3 cannot say that a number is missing; an alert about no metric has none.
        "value": message.temperature if metric else None,
        "threshold": message.threshold if metric else None,
        "location": {
            "latitude": place.latitude if place else None,
            "longitude": place.longitude if place else None,
            "region": (place.region or None) if place else None,
        },
        "metadata": {k: v for k, v in message.metadata.items() if k not in _OWN_METADATA},
    }
    try:
        return msgspec.convert(document, AlertRequested)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise InvalidRequestError(f"{where.rstrip('`') or 'request'}: {what}") from error


def entry(record: Record) -> alert_pb2.AlertRecord:
    """Returns an alert as an entry of the history; a value that is not there is 0."""
    alert = record.alert
    return alert_pb2.AlertRecord(
        alert_id=alert.alert_id,
        device_id=alert.device_id,
        alert_type=alert_type_number(alert.alert_type),
        severity=severity_number(alert.severity),
        message=alert.message,
        temperature=alert.value or 0.0,
        threshold=alert.threshold or 0.0,
        timestamp=stamp(alert.first_at),
        processed_at=stamp(record.processed_at),
        email_sent=record.email_sent,
    )


def moment(message: Message, field: str) -> datetime | None:
    """Returns a message's timestamp in UTC, None when it has none.

    Raises:
        InvalidRequestError: when it is no moment.
    """
    if not message.HasField(field):
        return None
    timestamp: Timestamp = getattr(message, field)
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{field}: {error}") from error


def span(
    message: alert_pb2.AlertHistoryRequest | alert_pb2.ListAlertsRequest,
) -> tuple[datetime | None, datetime | None]:
    """Returns the moments between which alerts are asked for.

    Raises:
        InvalidRequestError: when they are no moments, or the wrong way round.
    """
    start, end = moment(message, "start_time"), moment(message, "end_time")
    if start is not None and end is not None and start > end:
        raise InvalidRequestError("start_time: must not be after end_time")
    return start, end


def alert_type_of(number: int) -> AlertType | None:
    """Returns the type of a number, None when it is unspecified or unknown."""
    name = alert_pb2.AlertType.DESCRIPTOR.values_by_number.get(number)
    return AlertType(name.name.removeprefix(_PREFIX)) if name is not None and number else None


def severity_of_message(number: int) -> Severity | None:
    """Returns the severity of a number, None when it is unspecified.

    Raises:
        InvalidRequestError: when there is no such severity.
    """
    if not 0 <= number <= len(Severity):
        raise InvalidRequestError("severity: must be one of AlertSeverity")
    return severity_of(number) if number else None
