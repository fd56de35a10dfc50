"""What the project works with, as the gRPC contract of alerts has it."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from sensor_shared.contracts.rules import AlertType, Severity
from twinup.alert.v1 import alert_pb2


def alert_type_number(given: AlertType) -> alert_pb2.AlertType.ValueType:
    """Returns a type as the contract has it."""
    return alert_pb2.AlertType.Value(f"ALERT_TYPE_{given}")


def severity_number(given: Severity) -> alert_pb2.AlertSeverity.ValueType:
    """Returns a severity as the contract has it."""
    return alert_pb2.AlertSeverity.Value(f"ALERT_SEVERITY_{given}")


def stamp(when: datetime) -> Timestamp:
    """Returns a moment as protobuf has it."""
    timestamp = Timestamp()
    timestamp.FromDatetime(when)
    return timestamp


def stamp_ms(epoch_ms: int) -> Timestamp:
    """Returns a moment, epoch milliseconds, as protobuf has it."""
    timestamp = Timestamp()
    timestamp.FromMilliseconds(epoch_ms)
    return timestamp
