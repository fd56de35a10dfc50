"""Alerts as they are now, their changes and pages of them, as AlertService's messages."""

import re
from typing import Final

from sensor_alerts import requests
from sensor_alerts.domain.alert import InvalidRequestError, Record
from sensor_alerts.listing import Filter, Order
from sensor_shared.adapters.alert_contract import alert_type_number, severity_number, stamp
from sensor_shared.contracts.alert_changes import AlertChange, AlertState
from sensor_shared.contracts.alerts import MAX_NOTE, NOTE_CHARACTER
from twinup.alert.v1 import alert_pb2

_MAX_USER: Final = 128
_NOTE: Final = re.compile(f"{NOTE_CHARACTER}*")
_STATES: Final = {
    alert_pb2.ALERT_STATE_OPEN: AlertState.OPEN,
    alert_pb2.ALERT_STATE_CLEARED: AlertState.CLEARED,
}
_ORDERS: Final = {
    alert_pb2.ALERT_ORDER_UNSPECIFIED: Order.NEWEST,
    alert_pb2.ALERT_ORDER_NEWEST: Order.NEWEST,
    alert_pb2.ALERT_ORDER_OLDEST: Order.OLDEST,
    alert_pb2.ALERT_ORDER_SEVERITY: Order.SEVERITY,
}


def alert(record: Record) -> alert_pb2.Alert:
    """Returns an alert as it is now."""
    one = record.alert
    message = alert_pb2.Alert(
        alert_id=one.alert_id,
        device_id=one.device_id,
        rule_id=one.rule_id,
        alert_type=alert_type_number(one.alert_type),
        severity=severity_number(one.severity),
        message=one.message,
        metric=one.metric,
        value=one.value,
        threshold=one.threshold,
        region=one.region,
        device_type=one.device_type,
        latitude=one.latitude,
        longitude=one.longitude,
        state=alert_pb2.AlertState.Value(f"ALERT_STATE_{one.state.name}"),
        acknowledged_by=one.acknowledged_by,
        cleared_by=one.cleared_by,
        first_at=stamp(one.first_at),
        last_at=stamp(one.last_at),
        count=one.count,
        members=one.members,
        metadata=one.metadata,
        version=one.version,
        email_sent=record.email_sent,
        processed_at=stamp(record.processed_at),
        updated_at=stamp(record.updated_at),
    )
    if one.acknowledged_at is not None:
        message.acknowledged_at.CopyFrom(stamp(one.acknowledged_at))
    if one.cleared_at is not None:
        message.cleared_at.CopyFrom(stamp(one.cleared_at))
    return message


def change(one: AlertChange) -> alert_pb2.AlertChange:
    """Returns a change of an alert."""
    before = one.severity_before
    return alert_pb2.AlertChange(
        change_id=one.change_id,
        kind=one.kind.value,
        at=stamp(one.at),
        by=one.by,
        note=one.note,
        severity_before=(
            alert_pb2.ALERT_SEVERITY_UNSPECIFIED if before is None else severity_number(before)
        ),
        severity=severity_number(one.alert.severity),
        version=one.alert.version,
        value=one.alert.value,
    )


def chosen(request: alert_pb2.ListAlertsRequest) -> Filter:
    """Returns which alerts are asked for.

    Raises:
        InvalidRequestError: naming the field that is wrong.
    """
    start, end = requests.span(request)
    state = _STATES.get(request.state)
    if state is None and request.state:
        raise InvalidRequestError("state: must be one of AlertState")
    types = {requests.alert_type_of(number) for number in request.alert_types}
    known = sorted(one for one in types if one is not None)
    if len(known) < len(types):
        raise InvalidRequestError("alert_types: must be of AlertType")
    return Filter(
        device_id=request.device_id or None,
        start=start,
        end=end,
        min_severity=requests.severity_of_message(request.min_severity),
        state=state,
        acknowledged=request.acknowledged if request.HasField("acknowledged") else None,
        region=request.region or None,
        rule_id=request.rule_id or None,
        alert_types=tuple(known),
    )


def order(request: alert_pb2.ListAlertsRequest) -> Order:
    """Returns what comes first.

    Raises:
        InvalidRequestError: when there is no such order.
    """
    found = _ORDERS.get(request.order)
    if found is None:
        raise InvalidRequestError("order: must be one of AlertOrder")
    return found


def check(request: alert_pb2.ChangeAlertRequest, *, comment: bool = False) -> None:
    """Looks at what a user asks for.

    Raises:
        InvalidRequestError: naming the field that is wrong.
    """
    if not request.alert_id or len(request.alert_id) > _MAX_USER:
        raise InvalidRequestError("alert_id: must have 1 to 128 characters")
    if not 0 < len(request.user) <= _MAX_USER or not request.user.isprintable():
        raise InvalidRequestError("user: must have 1 to 128 printable characters")
    if len(request.note) > MAX_NOTE:
        raise InvalidRequestError("note: must have at most 1,000 characters")
    if not _NOTE.fullmatch(request.note):
        raise InvalidRequestError("note: must have no control characters but tabs and line ends")
    if comment and not request.note.strip():
        raise InvalidRequestError("note: a comment must say something")
