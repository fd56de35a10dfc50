"""Silences to and from the contract's messages."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from sensor_gateway.alerts import messages
from sensor_gateway.silences.models import Recurrence, Scope, Silence
from sensor_shared.adapters.alert_contract import alert_type_number, severity_number, stamp
from twinup.alert.v1 import silence_pb2


def silence(message: silence_pb2.Silence) -> Silence:
    """Returns a silence."""
    scope = message.scope
    return Silence.model_validate(
        {
            "silence_id": message.silence_id,
            "scope": {
                "devices": list(scope.devices),
                "device_types": list(scope.device_types),
                "alert_types": [messages.alert_type(one) for one in scope.alert_types],
                "regions": list(scope.regions),
                "rules": list(scope.rules),
                "severities": [messages.severity(one) for one in scope.severities],
            },
            "recurrence": _recurrence(message),
            "author": message.author,
            "reason": message.reason,
            "ended_by": message.ended_by,
            "active": message.active,
            **{
                name: messages.moment(message, name)
                for name in ("starts_at", "ends_at", "created_at", "updated_at")
            },
        }
    )


def scope(given: Scope) -> silence_pb2.Scope:
    """Returns a scope as the contract has it."""
    return silence_pb2.Scope(
        devices=given.devices,
        device_types=given.device_types,
        alert_types=[alert_type_number(one) for one in given.alert_types],
        regions=given.regions,
        rules=given.rules,
        severities=[severity_number(one) for one in given.severities],
    )


def recurrence(given: Recurrence | None) -> silence_pb2.Recurrence | None:
    """Returns a recurrence as the contract has it."""
    if given is None:
        return None
    return silence_pb2.Recurrence(cron=given.cron, zone=given.zone, minutes=given.minutes)


def moment(when: datetime | None) -> Timestamp | None:
    """Returns a moment as protobuf has it."""
    return None if when is None else stamp(when)


def _recurrence(message: silence_pb2.Silence) -> Recurrence | None:
    if not message.HasField("recurrence"):
        return None
    again = message.recurrence
    return Recurrence(cron=again.cron, zone=again.zone, minutes=again.minutes)
