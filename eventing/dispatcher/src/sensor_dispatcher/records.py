"""From a Kafka record to the CloudEvent that a KafkaSource makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sensor_dispatcher.cloudevents import CloudEvent, from_attributes, from_structured, to_name
from sensor_shared.contracts.events import PLAIN_KAFKA_RECORD, rfc3339

_CE = "ce_"
_CONTENT_TYPE = "content-type"
_STRUCTURED = "application/cloudevents+json"

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Record:
    """What a consumer got: coordinates, time in epoch milliseconds, bytes."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """The KafkaSource whose events they become."""

    namespace: str
    name: str
    extensions: Mapping[str, str]
    """`ceOverrides.extensions`: added to every event, over what it had."""


def to_event(record: Record, origin: Origin) -> CloudEvent:
    """Returns the record's event: structured, binary, or else one of the plain type.

    Never raises: whatever a record holds becomes an event that can be delivered.
    """
    event = carried(record) or _plain(record, origin)
    return event.extended(
        {
            **origin.extensions,
            "knativekafkapartition": str(record.partition),
            "knativekafkaoffset": str(record.offset),
        }
    )


def trace_headers(record: Record) -> dict[str, str]:
    """Returns the W3C trace headers of the record, for the POST; what is malformed is dropped."""
    found = {}
    for name, value in record.headers:
        if name in ("traceparent", "tracestate") and value and value.isascii():
            text = value.decode("ascii")
            if text.isprintable():
                found[name] = text.strip()
    return found if "traceparent" in found else {}


def carried(record: Record) -> CloudEvent | None:
    """Returns the CloudEvent that the record carries, structured or binary; None when none.

    Header names are case sensitive here, as they are in the data plane.
    """
    headers = dict(record.headers)
    content_type = _text(headers.get(_CONTENT_TYPE))
    if content_type is not None and content_type.lower().startswith(_STRUCTURED):
        return from_structured(record.value or b"")
    if "ce_specversion" in headers:
        attributes = {
            name.removeprefix(_CE): _text(value)
            for name, value in headers.items()
            if name.startswith(_CE)
        }
        if content_type is not None:
            attributes["datacontenttype"] = content_type
        return from_attributes(attributes, record.value)
    return None


def _plain(record: Record, origin: Origin) -> CloudEvent:
    attributes = {
        "specversion": "1.0",
        "id": f"partition:{record.partition}/offset:{record.offset}",
        "source": (
            f"/apis/v1/namespaces/{origin.namespace}/kafkasources/{origin.name}#{record.topic}"
        ),
        "type": PLAIN_KAFKA_RECORD,
        "subject": f"partition:{record.partition}#{record.offset}",
        "time": rfc3339(datetime.fromtimestamp(record.time_ms / 1000, UTC)),
    }
    if record.key:
        attributes["partitionkey"] = attributes["key"] = _text(record.key) or ""
    for name, value in record.headers:
        if value is None:
            # It says nothing. Knative loses every plain record of the same poll over it.
            continue
        if name.lower() == _CONTENT_TYPE:
            attributes["datacontenttype"] = (_text(value) or "").lower()
        else:
            attributes["kafkaheader" + to_name(name)] = _text(value) or ""
    return CloudEvent(attributes, record.value)


def _text(value: bytes | None) -> str | None:
    """As the data plane reads text: UTF-8, with U+FFFD for what is none."""
    return None if value is None else value.decode("utf-8", errors="replace")
