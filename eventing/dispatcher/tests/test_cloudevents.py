"""Events on HTTP and in Kafka: every value survives, and none makes a header invalid."""

import json
import string
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_dispatcher.cloudevents import (
    CloudEvent,
    from_attributes,
    from_structured,
    header_value,
    to_http,
    to_name,
    to_record,
    to_structured_record,
)

MINIMAL = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20).filter(
    lambda name: name not in ("data", "data_base64")
)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def test_printable_ascii_travels_as_it_is_like_in_knative() -> None:
    text = 'partition:0#7 100% "quoted" (a;b)'
    assert header_value(text) == text


@pytest.mark.parametrize(
    "text", ["a\r\nX-Evil: 1", "\x00", "Zürich", "日本", " edge ", "\x7f", "\t"]
)
def test_what_no_header_can_hold_is_percent_encoded(text: str) -> None:
    encoded = header_value(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert unquote(encoded) == text


@given(st.text())
def test_a_header_value_is_always_printable_ascii_without_outer_spaces(text: str) -> None:
    encoded = header_value(text)
    assert all(" " <= character <= "~" for character in encoded)
    assert encoded == encoded.strip()


@given(texts)
def test_an_encoded_value_decodes_to_what_it_was(text: str) -> None:
    encoded = header_value(text)
    assert encoded == text or unquote(encoded) == text


def test_http_headers_are_binary_mode_with_the_content_type_as_its_own_header() -> None:
    event = CloudEvent({**MINIMAL, "datacontenttype": "text/plain", "subject": "ü"}, b"x")
    assert to_http(event) == {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/s",
        "ce-type": "t",
        "ce-subject": "%C3%BC",
        "content-type": "text/plain",
    }


@given(extensions=st.dictionaries(names, texts), data=st.none() | st.binary())
def test_binary_records_hold_every_attribute_and_the_data(
    extensions: dict[str, str], data: bytes | None
) -> None:
    event = CloudEvent({**MINIMAL, **extensions}, data)
    key, value, headers = to_record(event)
    assert value == data
    assert key == (extensions["partitionkey"].encode() if "partitionkey" in extensions else None)
    found = {name.removeprefix("ce_"): text.decode() for name, text in headers}
    content_type = found.pop("content-type", None)
    assert content_type == (event.attributes.get("datacontenttype") or None)
    assert found == {n: v for n, v in event.attributes.items() if n != "datacontenttype"}


@given(extensions=st.dictionaries(names, texts), data=st.none() | st.binary())
def test_structured_records_read_back_as_the_same_event(
    extensions: dict[str, str], data: bytes | None
) -> None:
    event = CloudEvent({**extensions, **MINIMAL, "partitionkey": "k"}, data)
    key, value, headers = to_structured_record(event)
    assert key == b"k"
    assert headers[0][1].startswith(b"application/cloudevents+json")
    assert value is not None
    assert from_structured(value) == event


def test_json_data_of_a_structured_event_keeps_its_very_bytes() -> None:
    document = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"b":1.10, "a":[ ]}}'
    event = from_structured(document)
    assert event is not None
    assert event.data == b'{"b":1.10, "a":[ ]}'
    assert event.attributes["datacontenttype"] == "application/json"


def test_text_data_of_a_structured_event_is_unquoted() -> None:
    document = json.dumps({**MINIMAL, "datacontenttype": "text/plain", "data": 'a "b" ü'})
    event = from_structured(document.encode())
    assert event is not None
    assert event.data == 'a "b" ü'.encode()


def test_structured_attributes_take_their_canonical_string_form() -> None:
    document = json.dumps({**MINIMAL, "count": 3, "flag": True, "none": None})
    event = from_structured(document.encode())
    assert event is not None
    assert event.attributes == {**MINIMAL, "count": "3", "flag": "true"}
    assert event.data is None


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{",
        b'{"specversion":"1.0"}',
        msgspec.json.encode({**MINIMAL, "specversion": "2.0"}),
        msgspec.json.encode({**MINIMAL, "Bad-Name": "x"}),
        msgspec.json.encode({**MINIMAL, "nested": {}}),
        msgspec.json.encode({**MINIMAL, "number": 1.5}),
        msgspec.json.encode({**MINIMAL, "data_base64": "%%%"}),
        b'{"specversion":"1.0","id":"\xff","source":"/s","type":"t"}',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_is_no_structured_event_is_told_apart(document: bytes) -> None:
    assert from_structured(document) is None


@given(st.binary())
def test_no_bytes_make_the_structured_decoder_raise(document: bytes) -> None:
    from_structured(document)


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_every_required_attribute_must_be_there_with_a_value(missing: str) -> None:
    assert from_attributes({k: v for k, v in MINIMAL.items() if k != missing}, None) is None
    assert from_attributes({**MINIMAL, missing: ""}, None) is None
    assert from_attributes({**MINIMAL, missing: None}, None) is None


@given(st.text())
def test_every_text_becomes_a_valid_name_or_nothing(text: str) -> None:
    name = to_name(text)
    assert all(c in string.ascii_lowercase + string.digits for c in name)
