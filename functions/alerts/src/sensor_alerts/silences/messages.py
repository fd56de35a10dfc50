"""SilenceService's messages to and from what the project works with."""

from datetime import datetime
from typing import Any, Final

from google.protobuf.message import Message

from sensor_alerts import requests
from sensor_alerts.domain.notification import rank
from sensor_alerts.domain.silence import Silence
from sensor_alerts.silences.silences import SilenceError
from sensor_shared.adapters.alert_contract import alert_type_number, stamp
from twinup.alert.v1 import silence_pb2

_LISTS: Final = ("devices", "device_types", "regions", "rules")


def fields(request: Message) -> dict[str, Any]:
    """Returns what a request to make or change a silence has, by name.

    Raises:
        SilenceError: for a type or severity that is none.
        InvalidRequestError: for a moment that is none.
    """
    found: dict[str, Any] = {
        name: requests.moment(request, name)
        for name in ("starts_at", "ends_at")
        if request.HasField(name)
    }
    found |= {name: text for name in ("author", "reason") if (text := getattr(request, name))}
    if request.HasField("scope"):
        found["scope"] = _scope(request.scope)  # type: ignore[attr-defined]  # two messages have it
    if request.HasField("recurrence"):
        again = request.recurrence  # type: ignore[attr-defined]
        found["recurrence"] = {
            "cron": again.cron,
            "zone": again.zone or "UTC",
            "minutes": again.minutes,
        }
    return found


def _scope(scope: silence_pb2.Scope) -> dict[str, Any]:
    types = [requests.alert_type_of(number) for number in scope.alert_types]
    if None in types:
        raise SilenceError("scope.alert_types: must be of AlertType")
    severities = [requests.severity_of_message(number) for number in scope.severities]
    if None in severities:
        raise SilenceError("scope.severities: must be of AlertSeverity")
    return {name: list(getattr(scope, name)) for name in _LISTS} | {
        "alert_types": types,
        "severities": severities,
    }


def message(silence: Silence, now: datetime) -> silence_pb2.Silence:
    """Returns a silence as the contract has it."""
    scope, again = silence.scope, silence.recurrence
    types = [alert_type_number(one) for one in scope.alert_types]
    severities: Any = [rank(one) for one in scope.severities]
    return silence_pb2.Silence(
        silence_id=silence.silence_id,
        scope=silence_pb2.Scope(
            **{name: getattr(scope, name) for name in _LISTS},
            alert_types=types,
            severities=severities,
        ),
        starts_at=stamp(silence.starts_at),
        ends_at=stamp(silence.ends_at),
        recurrence=None
        if again is None
        else silence_pb2.Recurrence(cron=again.cron, zone=again.zone, minutes=again.minutes),
        author=silence.author,
        reason=silence.reason,
        ended_by=silence.ended_by,
        created_at=stamp(silence.created_at),
        updated_at=stamp(silence.updated_at),
        active=silence.holds(now),
    )
