"""Requests to raise an alert, as data of `ALERT_REQUESTED_V1` on topic `sensor-alerts`."""

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from sensor_shared.contracts.errors import Poison
from sensor_shared.contracts.events import ALERT_REQUESTED_V1, JSON, Event
from sensor_shared.contracts.rules import AlertType, Breach, Metric, Severity

ALERT_ID: Final = r"[^\x00-\x1f\x7f/]{1,128}"
"""Ids are one segment of a path: no slash, no control characters."""
AlertId = Annotated[str, msgspec.Meta(pattern=rf"\A(?!(?:live|\.\.?)\Z){ALERT_ID}\Z")]
"""Those that mean something else in a path are none."""
NOTE_CHARACTER: Final = r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
"""What people write ends up in mails, chats and terminals: of the control characters tabs and line
ends."""
MAX_NOTE: Final = 1_000
DeviceId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9\-_.:]{1,128}\Z")]
Note = Annotated[str, msgspec.Meta(max_length=256)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the device stands, as far as it is known."""

    latitude: float | None = None
    longitude: float | None = None
    region: str | None = None


class AlertRequested(msgspec.Struct, frozen=True):
    """Somebody saw what calls for an alert; the alert service decides what becomes of it.

    Attributes:
        alert_id: derived from what the alert is about, so that a repetition has the same.
        timestamp: when the reading was measured.
        rule: id of the rule, or of the detector, that was met.
        severity: None lets the service derive it from the excess over the threshold.
        metric: which of the reading's metrics `value` and `threshold` are about.
        value: what was measured, in the metric's unit.
        threshold: the limit that it broke, in the metric's unit.
        metadata: what else the sender wants to be kept with the alert.
    """

    alert_id: AlertId
    device_id: DeviceId
    alert_type: AlertType
    timestamp: Moment
    rule: Annotated[str, msgspec.Meta(max_length=64)]
    message: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    severity: Severity | None = None
    metric: Metric | None = None
    value: float | None = None
    threshold: float | None = None
    location: Place = Place()
    metadata: Annotated[dict[Note, Note], msgspec.Meta(max_length=16)] = {}


_decoder = msgspec.json.Decoder(AlertRequested)


def requested(breach: Breach) -> AlertRequested:
    """Returns the request that reports a breach."""
    return AlertRequested(
        alert_id=breach.alert_id,
        device_id=breach.device_id,
        alert_type=breach.alert_type,
        timestamp=datetime.fromtimestamp(breach.timestamp_ms / 1000, UTC),
        rule=breach.rule_id,
        message=breach.message,
        severity=breach.severity,
        metric=breach.metric,
        value=breach.value,
        threshold=breach.threshold,
        location=Place(breach.latitude, breach.longitude, breach.region),
    )


def encode(request: AlertRequested, source: str) -> Event:
    """Returns the event that carries a request; a repetition is the same event again.

    Args:
        request: what is asked for.
        source: names the sender, e.g. `/sensor/consumer`.
    """
    return Event(
        id=request.alert_id,
        source=source,
        type=ALERT_REQUESTED_V1,
        data=msgspec.json.encode(request),
        content_type=JSON,
        subject=request.device_id,
        time=request.timestamp,
        extensions={"partitionkey": request.device_id},
    )


def decode(event: Event) -> AlertRequested:
    """Reads a request; fields that this version does not know are ignored.

    Raises:
        Poison: when the data is not such a request.
    """
    try:
        return _decoder.decode(event.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Poison(f"not a request for an alert: {str(error)[:200]}") from error
