"""Alerts and their changes, from the contract's messages."""

from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from sensor_gateway.alerts.models import Alert, AlertChange, AlertHistory
from sensor_shared.contracts.alert_changes import AlertState
from sensor_shared.contracts.rules import AlertType, Severity
from twinup.alert.v1 import alert_pb2

_PLAIN: Final = (
    *("alert_id", "device_id", "rule_id", "message", "metric", "region", "device_type"),
    *("acknowledged_by", "cleared_by", "count", "members", "version", "email_sent"),
)
_OPTIONAL: Final = ("value", "threshold", "latitude", "longitude")
_MOMENTS: Final = (
    *("acknowledged_at", "cleared_at", "first_at", "last_at", "processed_at", "updated_at"),
)


def alert(message: alert_pb2.Alert) -> Alert:
    """Returns an alert as it is now."""
    return Alert(**_fields(message))


def history(message: alert_pb2.GetAlertResponse) -> AlertHistory:
    """Returns an alert with its changes."""
    changes = [_change(one) for one in message.changes]
    return AlertHistory(**_fields(message.alert), changes=changes)


def alert_type(number: alert_pb2.AlertType.ValueType) -> AlertType:
    """Returns the type that a number of the contract stands for."""
    name = alert_pb2.AlertType.Name(number)
    return AlertType(name.removeprefix("ALERT_TYPE_"))


def severity(number: alert_pb2.AlertSeverity.ValueType) -> Severity:
    """Returns the severity that a number of the contract stands for."""
    name = alert_pb2.AlertSeverity.Name(number)
    return Severity(name.removeprefix("ALERT_SEVERITY_"))


def moment(message: Message, field: str) -> datetime | None:
    """Returns a message's timestamp in UTC with milliseconds, None when it has none."""
    if not message.HasField(field):
        return None
    timestamp: Timestamp = getattr(message, field)
    found = timestamp.ToDatetime(UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def _fields(message: alert_pb2.Alert) -> dict[str, Any]:
    state = alert_pb2.AlertState.Name(message.state).removeprefix("ALERT_STATE_")
    return {
        **{name: getattr(message, name) for name in _PLAIN},
        **{name: getattr(message, name) if message.HasField(name) else None for name in _OPTIONAL},
        **{name: moment(message, name) for name in _MOMENTS},
        "alert_type": alert_type(message.alert_type),
        "severity": severity(message.severity),
        "state": AlertState[state],
        "metadata": dict(message.metadata),
    }


def _change(message: alert_pb2.AlertChange) -> AlertChange:
    before = message.severity_before
    return AlertChange.model_validate(
        {
            "change_id": message.change_id,
            "kind": message.kind,
            "at": moment(message, "at"),
            "by": message.by,
            "note": message.note,
            "severity_before": severity(before) if before else None,
            "severity": severity(message.severity),
            "value": message.value if message.HasField("value") else None,
            "version": message.version,
        }
    )
