"""The life of an alert: what a breach, a reading, a person or time makes of it. No I/O."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from sensor_alerts.domain.alert import Record, epoch_ms
from sensor_shared.contracts.alert_changes import (
    SYSTEM,
    AlertChange,
    AlertSnapshot,
    AlertState,
    ChangeKind,
    change_id,
)
from sensor_shared.contracts.rules import Severity

_NOT_GIVEN: Final = ""


class Outcome(StrEnum):
    """What became of a breach."""

    OPENED = "opened"
    REOPENED = "reopened"
    JOINED = "joined"
    """It belongs to an open alert, or to a pending one."""
    PENDING = "pending"
    """Its rule asks for more than one reading."""
    REPEATED = "repeated"
    """It is known, or measured before what is known: nothing changes."""
    LATE = "late"
    """It is older than the newest alert of its rule and does not belong to it."""


@dataclass(frozen=True, slots=True)
class Step:
    """What an alert is after something happened.

    Attributes:
        record: as it is now.
        change: what is told of it; None: nothing that others see has changed.
        stored: whether the record is to be written.
    """

    record: Record
    change: AlertChange | None = None
    stored: bool = False


def take(
    current: Record | None, breach: AlertSnapshot, *, waits: bool, window_ms: int, now: datetime
) -> tuple[Outcome, Step | None]:
    """Decides about a breach.

    Args:
        current: the newest alert, open or not, of the breach's device and rule.
        breach: as the alert that it would open.
        waits: whether its rule asks for more than one reading.
        window_ms: so long after it was cleared an alert is opened again.
        now: when this is decided.

    Returns:
        What happened and what comes of it; None with LATE: that depends on older alerts.
    """
    if current is None:
        return _begun(breach, waits, now)
    measured = epoch_ms(breach.first_at)
    if measured <= current.settled_ms or current.alert.alert_id == breach.alert_id:
        before = measured < current.first_ms - window_ms
        return (Outcome.LATE, None) if before else (Outcome.REPEATED, Step(current))
    if current.open:
        return Outcome.JOINED, _joined(current, breach, now)
    if current.pending and current.live and waits:
        return Outcome.JOINED, Step(current)
    if current.pending or waits or measured - current.settled_ms > window_ms:
        return _begun(breach, waits, now)
    return Outcome.REOPENED, _reopened(current, breach, now)


def late(breach: AlertSnapshot, now: datetime) -> Step:
    """Records what was over before it was known: news to nobody."""
    over = msgspec.structs.replace(
        breach, state=AlertState.CLEARED, cleared_by=SYSTEM, cleared_at=breach.last_at
    )
    record = Record(alert=over, processed_at=now, updated_at=now)
    change = _change(over, ChangeKind.RAISED, now, note="came late", before=None)
    return Step(record, change, stored=True)


def raised(pending: Record, value: float, at: datetime, severity: Severity, now: datetime) -> Step:
    """Makes an alert of what has held for long enough."""
    alert = msgspec.structs.replace(
        pending.alert, value=value, last_at=at, severity=severity, version=pending.alert.version + 1
    )
    record = msgspec.structs.replace(pending, alert=alert, pending=False, updated_at=now)
    change = _change(alert, ChangeKind.RAISED, now, note=_NOT_GIVEN, before=None)
    return Step(record, change, stored=True)


def dropped(pending: Record, at: datetime, now: datetime) -> Step:
    """Ends what did not hold for long enough; nobody ever saw it."""
    alert = msgspec.structs.replace(
        pending.alert,
        state=AlertState.CLEARED,
        cleared_by=SYSTEM,
        cleared_at=at,
        version=pending.alert.version + 1,
    )
    return Step(msgspec.structs.replace(pending, alert=alert, updated_at=now), stored=True)


def updated(
    record: Record,
    now: datetime,
    *,
    severity: Severity | None = None,
    members: int | None = None,
    message: str | None = None,
) -> Step:
    """Writes down what has changed in an open alert."""
    alert = msgspec.structs.replace(
        record.alert,
        severity=severity or record.alert.severity,
        members=record.alert.members if members is None else members,
        message=message or record.alert.message,
    )
    return _changed(record, alert, ChangeKind.UPDATED, now)


def cleared(record: Record, by: str, at: datetime, now: datetime, note: str = "") -> Step:
    """Ends an alert; one that is over already stays as it is.

    Args:
        record: the alert.
        by: the user, or `system`.
        at: when what shows it was measured; by hand: now.
        now: when this is decided.
        note: why.
    """
    if not record.open:
        return Step(record)
    alert = msgspec.structs.replace(
        record.alert,
        state=AlertState.CLEARED,
        cleared_by=by,
        cleared_at=max(at, record.alert.last_at),
    )
    return _changed(record, alert, ChangeKind.CLEARED, now, by=by, note=note)


def acknowledged(record: Record, by: str, now: datetime, note: str = "") -> Step:
    """Notes that somebody knows; whoever did so first stays."""
    if record.alert.acknowledged:
        return Step(record)
    alert = msgspec.structs.replace(record.alert, acknowledged_by=by, acknowledged_at=now)
    return _changed(record, alert, ChangeKind.ACKNOWLEDGED, now, by=by, note=note)


def commented(record: Record, by: str, now: datetime, note: str) -> Step:
    """Adds what somebody has to say."""
    return _changed(record, record.alert, ChangeKind.COMMENTED, now, by=by, note=note)


def emailed(record: Record, now: datetime) -> Step:
    """Notes that a mail server took a mail."""
    alert = msgspec.structs.replace(record.alert, version=record.alert.version + 1)
    return Step(
        msgspec.structs.replace(record, alert=alert, email_sent=True, updated_at=now), stored=True
    )


def _begun(breach: AlertSnapshot, waits: bool, now: datetime) -> tuple[Outcome, Step]:
    record = Record(alert=breach, pending=waits, processed_at=now, updated_at=now)
    if waits:
        return Outcome.PENDING, Step(record, stored=True)
    change = _change(breach, ChangeKind.RAISED, now, note=_NOT_GIVEN, before=None)
    return Outcome.OPENED, Step(record, change, stored=True)


def _reopened(current: Record, breach: AlertSnapshot, now: datetime) -> Step:
    alert = msgspec.structs.replace(
        _with(current.alert, breach),
        severity=breach.severity,
        message=breach.message,
        state=AlertState.OPEN,
        acknowledged_by=_NOT_GIVEN,
        acknowledged_at=None,
        cleared_by=_NOT_GIVEN,
        cleared_at=None,
    )
    return _changed(current, alert, ChangeKind.REOPENED, now)


def _joined(current: Record, breach: AlertSnapshot, now: datetime) -> Step:
    alert = _with(current.alert, breach)
    if breach.severity.rank <= current.alert.severity.rank:
        return Step(msgspec.structs.replace(current, alert=alert, dirty=True))
    worse = msgspec.structs.replace(alert, severity=breach.severity, message=breach.message)
    return _changed(current, worse, ChangeKind.UPDATED, now)


def _with(alert: AlertSnapshot, breach: AlertSnapshot) -> AlertSnapshot:
    """Returns an alert after a newer breach."""
    return msgspec.structs.replace(
        alert, last_at=breach.last_at, value=breach.value, count=alert.count + 1
    )


def _changed(
    record: Record,
    alert: AlertSnapshot,
    kind: ChangeKind,
    now: datetime,
    *,
    by: str = SYSTEM,
    note: str = "",
) -> Step:
    alert = msgspec.structs.replace(alert, version=record.alert.version + 1)
    changed = msgspec.structs.replace(record, alert=alert, dirty=False, updated_at=now)
    before = record.alert.severity
    return Step(changed, _change(alert, kind, now, by=by, note=note, before=before), stored=True)


def _change(
    alert: AlertSnapshot,
    kind: ChangeKind,
    now: datetime,
    *,
    note: str,
    before: Severity | None,
    by: str = SYSTEM,
) -> AlertChange:
    return AlertChange(
        change_id=change_id(alert.alert_id, alert.version),
        kind=kind,
        at=now,
        by=by,
        note=note,
        severity_before=before,
        alert=alert,
    )
