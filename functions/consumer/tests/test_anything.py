"""Whatever a stranger sends: never a 500, and whatever was taken is in a table."""

import asyncio
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from sensor_consumer.delivery import Delivery
from sensor_consumer.handler import Handler
from sensor_shared.contracts.events import ARROW_STREAM, JSON, PLAIN_KAFKA_RECORD, READINGS_V1
from sensor_shared.contracts.readings import SCHEMA
from sensor_shared.contracts.rules import Breach, load_rules
from sensor_shared.runtime.events import EventApp

from .conftest import RULES, arrow, batch_of, reading

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    ["device_id", "timestamp", "temperature", "humidity", "pressure", "location", "status"]
)
ALMOST_READINGS = st.lists(
    st.dictionaries(FIELDS, JSON_VALUES, max_size=4).map(lambda odd: reading("d") | odd)
    | JSON_VALUES,
    max_size=6,
)
THE_RULES = load_rules(RULES)
GOOD_ARROW = arrow(batch_of([reading("d"), reading("e")]))


@st.composite
def damaged_arrow(draw: st.DrawFn) -> bytes:
    data = bytearray(GOOD_ARROW)
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


BODIES = (
    st.binary(max_size=300)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | ALMOST_READINGS.map(lambda value: json.dumps(value).encode())
    | damaged_arrow()
)
HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20).map(
    lambda text: text.encode("latin-1")
)


class Shelf:
    """Takes what the handler stores and reports."""

    def __init__(self) -> None:
        self.readings = self.rejects = 0
        self.reasons: Counter[str] = Counter()

    async def add(self, delivery: Delivery) -> None:
        self.readings += delivery.batch.num_rows
        self.rejects += len(delivery.rejects)
        self.reasons.update(reject.reason for reject in delivery.rejects)

    async def report(self, breaches: Sequence[Breach]) -> None:
        assert all(breach.value > breach.threshold for breach in breaches)


def post(shelf: Shelf, headers: dict[bytes, bytes], body: bytes) -> int:
    """Returns the status of one request."""
    app = EventApp("consumer", Handler(shelf, THE_RULES, shelf), max_body_bytes=1_000_000)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers.items())}
    asyncio.run(app(scope, receive, send))
    return int(sent[0]["status"])


def binary(kind: str, content_type: str) -> dict[bytes, bytes]:
    return {
        b"ce-specversion": b"1.0",
        b"ce-id": b"1",
        b"ce-source": b"/tests",
        b"ce-type": kind.encode(),
        b"content-type": content_type.encode(),
    }


@property_settings(max_examples=150, deadline=None)
@given(
    BODIES,
    st.sampled_from([READINGS_V1, PLAIN_KAFKA_RECORD, "com.example.other"]),
    st.sampled_from([JSON, ARROW_STREAM, "text/plain", ""]),
)
def test_any_body_of_an_event_is_taken_and_kept(body: bytes, kind: str, content_type: str) -> None:
    shelf = Shelf()
    assert post(shelf, binary(kind, content_type), body) == 202
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    if content_type == JSON and kind != "com.example.other":
        # One row for each reading, here or there; an empty array holds nothing.
        assert shelf.readings + shelf.rejects == (len(value) if isinstance(value, list) else 1)


@property_settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            b"ce-specversion ce-id ce-source ce-type ce-time ce-subject content-type "
            b"ce-partitionkey ce-data_base64 ce-x".split()
        ),
        HEADER,
    ),
    BODIES,
)
def test_any_headers_are_taken_or_refused_for_what_they_are(
    headers: dict[bytes, bytes], body: bytes
) -> None:
    assert post(Shelf(), headers, body) in (202, 400)


@property_settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("specversion", "id", "source", "type", "time", "datacontenttype", "subject"),
            st.just("1.0") | JSON_VALUES,
        )
        | dict.fromkeys(("data", "data_base64", "x", "Y-"), JSON_VALUES),
    )
)
def test_any_structured_event_is_taken_or_refused_for_what_it_is(event: dict[str, Any]) -> None:
    headers = {b"content-type": b"application/cloudevents+json"}
    assert post(Shelf(), headers, json.dumps(event).encode()) in (202, 400)


def test_an_arrow_stream_without_a_reading_holds_nothing() -> None:
    sink = io.BytesIO()
    pa.ipc.new_stream(sink, SCHEMA).close()
    shelf = Shelf()
    assert post(shelf, binary(READINGS_V1, ARROW_STREAM), sink.getvalue()) == 202
    assert (shelf.readings, shelf.rejects) == (0, 0)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_bad_reading_costs_its_neighbours_nothing(position: int) -> None:
    readings: list[Any] = [reading("a"), reading("b")]
    readings.insert(position, {"device_id": "c"})
    shelf = Shelf()
    assert post(shelf, binary(READINGS_V1, JSON), json.dumps(readings).encode()) == 202
    assert (shelf.readings, dict(shelf.reasons)) == (2, {"invalid_timestamp": 1})
