"""CloudEvents 1.0 as the data plane carries them: headers of HTTP, records of Kafka."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote

import msgspec

REQUIRED = ("specversion", "id", "source", "type")
_NAME = re.compile(r"[a-z0-9]+")
_NOT_NAME = re.compile(r"[^a-z0-9]")
_SENT_AS_IT_IS = re.compile(r"(?! )[ -~]*(?<! )")
_SAFE = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What quote() leaves alone: printable ASCII but space, double quote and percent."""


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event: its attributes, extensions among them, by bare name; data as raw bytes.

    `datacontenttype` is one of the attributes. `data` is None when there is none.
    """

    attributes: Mapping[str, str]
    data: bytes | None

    def extended(self, extensions: Mapping[str, str]) -> "CloudEvent":
        """Returns the event with `extensions` added, or put in place of what was there."""
        return replace(self, attributes={**self.attributes, **extensions})


@lru_cache(maxsize=1024)
def is_name(name: str) -> bool:
    """Tells whether CloudEvents allows an attribute of that name."""
    return _NAME.fullmatch(name) is not None


def to_name(text: str) -> str:
    """Returns `text` without what the name of an attribute may not hold; may be empty."""
    return _NOT_NAME.sub("", text.lower())


def header_value(value: str) -> str:
    """Encodes an attribute's value as the value of an HTTP header.

    Printable ASCII travels as it is, as Knative sends it. Where Knative would send raw Latin-1
    or fail for good (control characters), the value is percent-encoded as the CloudEvents HTTP
    binding says (3.1.3.2), so that nothing in a record can make it undeliverable.
    """
    if _SENT_AS_IT_IS.fullmatch(value):
        return value
    return quote(value, safe=_SAFE, errors="replace")


def to_http(event: CloudEvent) -> dict[str, str]:
    """Returns the headers of a POST in binary content mode; the body is the event's data."""
    headers = {
        f"ce-{name}": header_value(value)
        for name, value in event.attributes.items()
        if name != "datacontenttype"
    }
    if content_type := event.attributes.get("datacontenttype"):
        headers["content-type"] = header_value(content_type)
    return headers


def to_record(event: CloudEvent) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Returns key, value and headers of a Kafka record in binary content mode."""
    headers = [
        (f"ce_{name}", _utf8(value))
        for name, value in event.attributes.items()
        if name != "datacontenttype"
    ]
    if content_type := event.attributes.get("datacontenttype"):
        headers.append(("content-type", _utf8(content_type)))
    return _key(event), event.data, headers


def to_structured_record(
    event: CloudEvent,
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Returns key, value and headers of a Kafka record in structured content mode (JSON)."""
    document: dict[str, object] = dict(event.attributes)
    if event.data is not None:
        # Always base64: the bytes come back exactly, whatever they are.
        document["data_base64"] = event.data
    value = msgspec.json.encode(document)
    return _key(event), value, [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def from_attributes(attributes: Mapping[str, str | None], data: bytes | None) -> CloudEvent | None:
    """Returns the event, or None when these attributes make no valid CloudEvents 1.0.

    Names are taken in lower case; attributes without a value are left out.
    """
    present = {name.lower(): value for name, value in attributes.items() if value is not None}
    if present.get("specversion") != "1.0" or not all(present.get(name) for name in REQUIRED):
        return None
    if not all(map(is_name, present)):
        return None
    return CloudEvent(present, data)


def from_structured(document: bytes) -> CloudEvent | None:
    """Decodes an event in CloudEvents' JSON format; None when it is none.

    JSON data keeps the very bytes that were sent.
    """
    try:
        fields = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
        data_base64 = fields.pop("data_base64", None)
        raw = fields.pop("data", None)
        attributes = {
            name: _canonical(msgspec.json.decode(value)) for name, value in fields.items()
        }
        if data_base64 is not None:
            data: bytes | None = msgspec.json.decode(data_base64, type=bytes)
        elif raw is None:
            data = None
        else:
            data = _data(bytes(raw), attributes.get("datacontenttype"))
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError):
        return None
    if raw is not None and "datacontenttype" not in attributes:
        attributes["datacontenttype"] = "application/json"  # what the JSON format says it means
    return from_attributes(attributes, data)


def _canonical(value: object) -> str | None:
    """CloudEvents' string form of an attribute's value (type system, section 3.1)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise TypeError("an attribute is a string, an integer or a boolean")


def _data(raw: bytes, content_type: str | None) -> bytes:
    media_type = (content_type or "application/json").partition(";")[0].strip().lower()
    if media_type.endswith(("/json", "+json")) or not raw.startswith(b'"'):
        return raw
    text: str = json.loads(raw)
    return _utf8(text)


def _key(event: CloudEvent) -> bytes | None:
    key = event.attributes.get("partitionkey")
    return None if key is None else _utf8(key)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")
