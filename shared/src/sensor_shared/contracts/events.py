"""CloudEvents 1.0 as the project uses them: types, topics, identity, Kafka binary mode."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import uuid_utils

READINGS_V1 = "com.twinup.sensor.readings.v1"
ALERT_REQUESTED_V1 = "com.twinup.alert.requested.v1"
ALERT_CHANGED_V1 = "com.twinup.alert.changed.v1"
PLAIN_KAFKA_RECORD = "dev.knative.kafka.event"
"""Type that KafkaSource gives to a record without CloudEvents headers."""
PING = "dev.knative.sources.ping"
REPLAYED = "replayed"
"""Extension of an event that is delivered again on purpose, long after its first delivery: its
readings may be stored already, and only those that are not are added. Its value is `true`, or the
name of the replay, which tells it from the one before."""
LETTERS_PUT_BACK_V1 = "com.twinup.letters.putback.v1"
"""Type of the receipts among the dead letters: which letters of its partition were put back."""

SENSOR_DATA = "sensor-data"
SENSOR_ALERTS = "sensor-alerts"
ALERT_CHANGES = "sensor-alert-changes"
DEAD_LETTERS = "sensor-dead-letters"

JSON = "application/json"
ARROW_STREAM = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvent with its data as the raw bytes that were sent.

    `extensions` holds every further attribute by its bare name (`partitionkey`,
    `traceparent`, `knativekafkaoffset`, …).
    """

    id: str
    source: str
    type: str
    data: bytes
    content_type: str | None = None
    subject: str | None = None
    time: datetime | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identity of the event, 32 hex digits of BLAKE2b over source, id and data.

        A delivery with a known key is a repetition. CloudEvents defines equality by source and id
        alone; a sender that gives one id to two events would lose the second one by that.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.source.encode())
        digest.update(b"\0")
        digest.update(self.id.encode())
        digest.update(b"\0")
        digest.update(self.data)
        return digest.hexdigest()


def new_id() -> str:
    """Returns an id that is unique for ever and sorts by time (UUIDv7, RFC 9562)."""
    return str(uuid_utils.uuid7())


def rfc3339(moment: datetime) -> str:
    """Returns `moment` in UTC with milliseconds, e.g. `2026-11-23T19:32:18.979Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_ms(epoch_ms: int) -> str:
    """Returns epoch milliseconds as `rfc3339` writes a moment."""
    return rfc3339(datetime.fromtimestamp(epoch_ms / 1000, UTC))


def to_kafka(event: Event) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """Encodes an event as key, value and headers of a Kafka record in binary content mode.

    The key is the extension `partitionkey`, as the CloudEvents Kafka binding says.
    `traceparent` travels under its own name too, where the data plane looks for it.
    """
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.type.encode()),
    ]
    if event.content_type is not None:
        headers.append(("content-type", event.content_type.encode()))
    if event.subject is not None:
        headers.append(("ce_subject", event.subject.encode()))
    if event.time is not None:
        headers.append(("ce_time", rfc3339(event.time).encode()))
    for name, value in event.extensions.items():
        headers.append((f"ce_{name}", value.encode()))
        if name == "traceparent":
            headers.append(("traceparent", value.encode()))
    key = event.extensions.get("partitionkey")
    return (None if key is None else key.encode()), event.data, headers
