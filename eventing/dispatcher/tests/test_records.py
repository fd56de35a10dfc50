"""Every Kafka record becomes an event that can be delivered, as KafkaSource would make it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_dispatcher.cloudevents import to_http
from sensor_dispatcher.records import Headers, Origin, Record, to_event, trace_headers

ORIGIN = Origin("ns", "name", {})
BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"42"),
    ("ce_source", b"/fleet"),
    ("ce_type", b"com.example.v1"),
)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(
    value: bytes | None = b"{}", *, key: bytes | None = None, headers: Headers = ()
) -> Record:
    return Record("sensor-data", 3, 17, 1_795_000_000_123, key, value, headers)


def test_a_plain_record_gets_knatives_attributes() -> None:
    plain = record(b'{"a":1}', key=b"device-1", headers=(("device_type", b"x"), ("Version", b"1")))
    event = to_event(plain, ORIGIN)
    assert event.data == b'{"a":1}'
    assert event.attributes == {
        "specversion": "1.0",
        "id": "partition:3/offset:17",
        "source": "/apis/v1/namespaces/ns/kafkasources/name#sensor-data",
        "type": "dev.knative.kafka.event",
        "subject": "partition:3#17",
        "time": "2026-11-18T11:06:40.123Z",
        "key": "device-1",
        "partitionkey": "device-1",
        "kafkaheaderdevicetype": "x",
        "kafkaheaderversion": "1",
        "knativekafkapartition": "3",
        "knativekafkaoffset": "17",
    }


def test_a_plain_record_has_a_content_type_only_if_the_record_had() -> None:
    event = to_event(record(headers=(("Content-Type", b"Text/CSV"),)), ORIGIN)
    assert event.attributes["datacontenttype"] == "text/csv"
    assert "kafkaheadercontenttype" not in event.attributes
    assert "datacontenttype" not in to_event(record(), ORIGIN).attributes


def test_a_binary_event_is_passed_on_with_its_coordinates_and_without_its_key() -> None:
    headers = (*BINARY, ("content-type", b"application/json"), ("ce_partitionkey", b"p"))
    event = to_event(record(key=b"key", headers=headers), ORIGIN)
    assert event.attributes == {
        "specversion": "1.0",
        "id": "42",
        "source": "/fleet",
        "type": "com.example.v1",
        "partitionkey": "p",
        "datacontenttype": "application/json",
        "knativekafkapartition": "3",
        "knativekafkaoffset": "17",
    }


def test_a_structured_event_is_recognised_by_its_content_type() -> None:
    document = {"specversion": "1.0", "id": "7", "source": "/s", "type": "t", "data": [1]}
    headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
    event = to_event(record(json.dumps(document).encode(), headers=headers), ORIGIN)
    assert event.attributes["id"] == "7"
    assert event.data == b"[1]"


@pytest.mark.parametrize(
    "headers",
    [
        (("CE_specversion", b"1.0"), *BINARY[1:]),
        (("Ce-Id", b"42"), *BINARY[1:]),
        BINARY[:3],
        (*BINARY, ("ce_bad-name", b"x")),
        (*BINARY[1:], ("ce_specversion", None)),
        (("content-type", b"application/cloudevents+json"),),
        (("content-type", b"application/cloudevents-batch+json"),),
    ],
)
def test_anything_else_becomes_a_plain_event(headers: Headers) -> None:
    """Header names are case sensitive, and half an event is none."""
    event = to_event(record(b"raw", headers=headers), ORIGIN)
    assert event.attributes["type"] == "dev.knative.kafka.event"
    assert event.data == b"raw"


def test_null_headers_are_left_out_instead_of_losing_the_record() -> None:
    event = to_event(record(headers=(("a", None), ("b", b"1"))), ORIGIN)
    assert "kafkaheadera" not in event.attributes
    assert event.attributes["kafkaheaderb"] == "1"


def test_overrides_are_added_to_every_event_over_what_it_had() -> None:
    origin = Origin("ns", "name", {"site": "b"})
    assert to_event(record(), origin).attributes["site"] == "b"
    binary = record(headers=(*BINARY, ("ce_site", b"a")))
    assert to_event(binary, origin).attributes["site"] == "b"


def test_the_trace_goes_on_from_the_records_header() -> None:
    headers = (("traceparent", TRACE), ("tracestate", b"a=b"))
    assert trace_headers(record(headers=headers)) == {
        "traceparent": TRACE.decode(),
        "tracestate": "a=b",
    }


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"a\r\nX: 1"])
def test_a_trace_header_that_is_none_is_dropped(value: bytes | None) -> None:
    assert trace_headers(record(headers=(("traceparent", value),))) == {}


_header_names = st.text() | st.sampled_from(
    ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type", "traceparent"]
)
_header_values = st.none() | st.binary() | st.sampled_from([b"1.0", b"x", b"\r\n", TRACE])


@given(
    value=st.none() | st.binary(),
    key=st.none() | st.binary(),
    headers=st.lists(st.tuples(_header_names, _header_values)),
)
def test_whatever_a_record_holds_its_event_can_be_sent(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    strange = record(value, key=key, headers=tuple(headers))
    event = to_event(strange, ORIGIN)
    sent = {**to_http(event), **trace_headers(strange)}
    assert all(event.attributes[name] for name in ("specversion", "id", "source", "type"))
    for name, text in sent.items():
        assert name.isascii()
        assert all(" " <= character <= "~" for character in text), name
    if event.attributes["type"] == "dev.knative.kafka.event":
        assert event.data == value
