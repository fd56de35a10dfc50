"""What the operations on alerts take and answer.

The names are those of `com.twinup.alert.changed.v1`: who follows the events and who asks see one
document.
"""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from sensor_shared.contracts import alerts
from sensor_shared.contracts.alert_changes import AlertState, ChangeKind
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.rules import AlertType, Severity

_SPOKEN = r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f\s]"
ALERT_ID_PATTERN = f"^{alerts.ALERT_ID}$"
ALERT_ID = "6f1d0c3b8a5e4d2790b1c4e8f7a62d35"
"""The example."""
_ANY: Final = alerts.NOTE_CHARACTER
Text = Annotated[str, Field(pattern=f"^{_ANY}*$", max_length=alerts.MAX_NOTE)]
Words = Annotated[str, Field(pattern=f"^{_ANY}*{_SPOKEN}{_ANY}*$", max_length=alerts.MAX_NOTE)]
"""Text that says something."""

Time = Annotated[
    datetime,
    PlainSerializer(rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""With milliseconds, as all times are written."""


class Alert(BaseModel):
    """An alert as it is now."""

    alert_id: str = Field(examples=[ALERT_ID])
    device_id: str = Field(
        description="of a group of devices `fleet` or `region:<name>`",
        examples=["industrial_sensor_000007"],
    )
    rule_id: str = Field(description="empty: no rule", examples=["temperature-high"])
    alert_type: AlertType
    severity: Severity
    message: str = Field(
        examples=["industrial_sensor_000007: temperature 96 °C breaks the limit of 90 °C"]
    )
    metric: str = Field(description="empty: it is about none", examples=["temperature"])
    value: float | None = Field(
        description="measured last, in the metric's unit: °C, %, hPa", examples=[96.25]
    )
    threshold: float | None = Field(description="in the metric's unit", examples=[90.0])
    region: str = Field(description="empty: not known", examples=["west"])
    device_type: str = Field(
        description="empty or `unknown`: not known", examples=["industrial_sensor"]
    )
    latitude: float | None
    longitude: float | None
    state: AlertState
    acknowledged_by: str = Field(description="empty: nobody")
    acknowledged_at: Time | None
    cleared_by: str = Field(description="`system`: by itself; empty: it is open")
    cleared_at: Time | None
    first_at: Time = Field(description="when its first breach was measured")
    last_at: Time = Field(description="when its last breach was measured")
    count: int = Field(ge=0, description="of breaches")
    members: int = Field(ge=0, description="devices of a group; 0: it is about one device")
    metadata: dict[str, str]
    version: int = Field(ge=0, description="rises with every change")
    email_sent: bool = Field(description="a mail server took a mail about it; no change tells that")
    processed_at: Time = Field(description="when its first breach was taken")
    updated_at: Time = Field(description="when it was stored last")


class AlertChange(BaseModel):
    """One change in the life of an alert."""

    change_id: str
    kind: ChangeKind
    at: Time = Field(description="when it was decided")
    by: str = Field(description="user name, or `system`")
    note: str
    severity_before: Severity | None = Field(description="null: the alert was not there before")
    severity: Severity = Field(description="since then")
    value: float | None
    version: int = Field(ge=0, description="of the alert since then")


class AlertHistory(Alert):
    """An alert and what has happened to it."""

    changes: list[AlertChange] = Field(description="the oldest first; the last thousand")


class AlertPage(BaseModel):
    """Alerts, in the order asked for."""

    items: list[Alert]
    total: int = Field(ge=0, description="alerts on all pages")
    next: str | None = Field(description="`cursor` of the next page; null: this is the last")


class Note(BaseModel):
    """What a user has to say about it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"note": "the cooling is off"}]}
    )

    note: Text = ""


class Comment(BaseModel):
    """What a user has to say."""

    model_config = ConfigDict(extra="forbid")

    note: Words = Field(examples=["the fan is replaced on Monday"])
