"""Alerts to and from rows of the table `alerts`."""

from datetime import datetime
from typing import Any, Final

import msgspec

from sensor_alerts.domain.alert import Record, from_ms
from sensor_shared.contracts.alert_changes import AlertSnapshot, AlertState
from sensor_shared.contracts.rules import AlertType, Severity

_MOMENTS: Final = ("first_at", "last_at", "acknowledged_at", "cleared_at")
_NAMES: Final = (
    "alert_id, device_id, rule_id, toString(alert_type), toString(severity), message, metric, "
    "value, threshold, region, device_type, latitude, longitude, toString(state), "
    "acknowledged_by, toUnixTimestamp64Milli(acknowledged_at), cleared_by, "
    "toUnixTimestamp64Milli(cleared_at), toUnixTimestamp64Milli(timestamp), "
    "toUnixTimestamp64Milli(last_at), count, members, metadata, version, email_sent, "
    "toUnixTimestamp64Milli(processed_at), toUnixTimestamp64Milli(updated_at)"
)
COLUMNS: Final = _NAMES
"""What `record` reads, in its order."""

_EARLIER_METADATA: Final = ("count", "last_ms")
"""Where earlier versions of this service kept what now has columns of its own."""


def row(record: Record) -> dict[str, Any]:
    """Returns the row of a record, values as ClickHouse reads them from JSON."""
    fields = msgspec.structs.asdict(record.alert)
    for name in _MOMENTS:
        fields[name] = None if fields[name] is None else clickhouse(fields[name])
    fields["timestamp"] = fields.pop("first_at")
    states = {True: ("pending", "dropped"), False: ("open", "cleared")}[record.pending]
    return fields | {
        "alert_type": record.alert.alert_type.value,
        "severity": record.alert.severity.value,
        "state": states[record.alert.state is AlertState.CLEARED],
        "email_sent": record.email_sent,
        "processed_at": clickhouse(record.processed_at),
        "updated_at": clickhouse(record.updated_at),
    }


def record(columns: tuple[Any, ...]) -> Record:
    """Returns the record of a row that was read by `COLUMNS`."""
    alert_id, device_id, rule_id, alert_type, severity, message, metric, value = columns[:8]
    threshold, region, device_type, latitude, longitude, state = columns[8:14]
    acknowledged_by, acknowledged_ms, cleared_by, cleared_ms, first_ms, last_ms = columns[14:20]
    count, members, metadata, version, email_sent, processed_ms, updated_ms = columns[20:]
    live = state in ("open", "pending")
    return Record(
        alert=AlertSnapshot(
            alert_id=alert_id,
            device_id=device_id,
            rule_id=rule_id,
            alert_type=AlertType(alert_type),
            severity=Severity(severity),
            message=message,
            metric=metric,
            value=value,
            threshold=threshold,
            region=region,
            device_type=device_type,
            latitude=latitude,
            longitude=longitude,
            state=AlertState.OPEN if live else AlertState.CLEARED,
            acknowledged_by=acknowledged_by,
            acknowledged_at=_moment(acknowledged_ms),
            cleared_by=cleared_by,
            cleared_at=_moment(cleared_ms),
            first_at=from_ms(first_ms),
            last_at=from_ms(last_ms),
            count=count,
            members=members,
            metadata={k: text for k, text in metadata.items() if k not in _EARLIER_METADATA},
            version=int(version),
        ),
        pending=state in ("pending", "dropped"),
        email_sent=bool(email_sent),
        processed_at=from_ms(processed_ms),
        updated_at=from_ms(updated_ms),
    )


def clickhouse(moment: datetime) -> str:
    """Returns ClickHouse's own form of a DateTime64(3, 'UTC')."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_ms(milliseconds)
