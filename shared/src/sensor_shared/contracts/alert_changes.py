"""Changes in the life of alerts, as data of `ALERT_CHANGED_V1` on topic `sensor-alert-changes`.

Each change carries the whole alert as it is afterwards, so that nobody has to ask for the rest. It
may come more than once, always with the same id, and out of order: of one alert the change with the
highest version is the newest.
"""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from sensor_shared.contracts.errors import Poison
from sensor_shared.contracts.events import ALERT_CHANGED_V1, JSON, Event
from sensor_shared.contracts.rules import AlertType, Severity

SOURCE: Final = "/sensor/alerts"
SYSTEM: Final = "system"
"""Who did what no person did."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class ChangeKind(StrEnum):
    """What happened to an alert."""

    RAISED = "raised"
    UPDATED = "updated"
    """Severity up or down, last value, count, members of a group."""
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"
    REOPENED = "reopened"
    COMMENTED = "commented"


class AlertState(StrEnum):
    """Whether what the alert is about still holds."""

    OPEN = "open"
    CLEARED = "cleared"


class AlertSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is after a change.

    Attributes:
        device_id: the device; of a group `fleet` or `region:<name>`.
        rule_id: of the rule or detector; empty when the request named none.
        message: one sentence for people.
        metric: empty: the alert is not about one.
        value: what was measured last, in the metric's unit.
        threshold: the limit, in the metric's unit.
        region: empty: not known.
        device_type: empty: not known.
        acknowledged_by: who; empty: nobody. A reopened alert is acknowledged no more.
        cleared_by: who, `system` when it cleared itself; empty while it is open.
        cleared_at: by hand: when; by itself: when the reading that shows it was measured.
        first_at: when the first reading that belongs to it was measured.
        last_at: when the last one was measured.
        count: of breaches; one that came later than a newer one is not counted.
        members: devices that a group alert stands for now; 0: it is about one device.
        version: rises with every change; what is in `alert_changes` is the same.
    """

    alert_id: str
    device_id: str
    rule_id: str
    alert_type: AlertType
    severity: Severity
    message: str
    metric: str = ""
    value: float | None = None
    threshold: float | None = None
    region: str = ""
    device_type: str = ""
    latitude: float | None = None
    longitude: float | None = None
    state: AlertState = AlertState.OPEN
    acknowledged_by: str = ""
    acknowledged_at: Moment | None = None
    cleared_by: str = ""
    cleared_at: Moment | None = None
    first_at: Moment
    last_at: Moment
    count: int = 1
    members: int = 0
    metadata: dict[str, str] = {}
    version: int = 1

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has said that he knows."""
        return bool(self.acknowledged_by)

    @property
    def episode(self) -> str:
        """What, with the device, only one open alert can be about."""
        return self.rule_id or self.alert_id

    @property
    def subject(self) -> str:
        """What, with the device, people are not told about again and again."""
        return self.rule_id or self.alert_type.value


class AlertChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one alert.

    Attributes:
        change_id: derived from the alert and its version: a repetition has the same.
        at: when it was decided.
        by: the user, or `system`.
        note: what the user gave with it, or why the system did it.
        severity_before: None when the alert was not there before.
        alert: as it is now.
    """

    change_id: str
    kind: ChangeKind
    at: Moment
    by: str
    note: str = ""
    severity_before: Severity | None = None
    alert: AlertSnapshot


_decoder = msgspec.json.Decoder(AlertChange)


def change_id(alert_id: str, version: int) -> str:
    """Returns the id of the change that gave an alert its version."""
    return hashlib.blake2b(f"{alert_id}\0{version}".encode(), digest_size=16).hexdigest()


def data_of(change: AlertChange) -> bytes:
    """Returns the data of the event that carries a change."""
    return msgspec.json.encode(change)


def encode(change: AlertChange) -> Event:
    """Returns the event that carries a change; a repetition is the same event again."""
    return Event(
        id=change.change_id,
        source=SOURCE,
        type=ALERT_CHANGED_V1,
        data=data_of(change),
        content_type=JSON,
        subject=change.alert.alert_id,
        time=change.at,
        extensions={"partitionkey": change.alert.device_id},
    )


def decode(event: Event) -> AlertChange:
    """Reads a change; fields that this version does not know are ignored.

    Raises:
        Poison: when the data is not such a change.
    """
    return read(event.data)


def read(data: bytes) -> AlertChange:
    """Reads the data of such an event.

    Raises:
        Poison: when it is not such a change.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Poison(f"not a change of an alert: {str(error)[:200]}") from error
