"""An HTTP request becomes a typed event, and an error becomes a status."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from sensor_shared.contracts.errors import Poison, Retry
from sensor_shared.contracts.events import READINGS_V1, Event, new_id, rfc3339, to_kafka
from sensor_shared.runtime import events
from sensor_shared.runtime.events import EventApp, MalformedEventError, Refusals, decode_event

BINARY = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "urn:test",
    "ce-type": READINGS_V1,
    "content-type": "application/json",
}


async def post(
    handler: Callable[[Event], Awaitable[None]],
    content: bytes = b"{}",
    headers: dict[str, str] | None = None,
    limit: int = 1000,
) -> httpx.Response:
    app = EventApp("test", handler, max_body_bytes=limit)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(
            "/", content=content, headers=BINARY if headers is None else headers
        )


class Recorder:
    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[Event] = []
        self._error = error

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._error:
            raise self._error


async def test_a_binary_event_reaches_the_handler_with_its_bytes_untouched() -> None:
    seen = Recorder()
    headers = BINARY | {
        "ce-time": "2026-11-23T19:32:18.979Z",
        "ce-subject": "s",
        "ce-partitionkey": "device-1",
        "ce-knativekafkaoffset": "7",
    }
    response = await post(seen, b' {"a": 1}', headers)
    assert (response.status_code, response.content) == (202, b"")
    assert seen.events == [
        Event(
            id="1",
            source="urn:test",
            type=READINGS_V1,
            data=b' {"a": 1}',
            content_type="application/json",
            subject="s",
            time=datetime(2026, 11, 23, 19, 32, 18, 979_000, tzinfo=UTC),
            extensions={"partitionkey": "device-1", "knativekafkaoffset": "7"},
        )
    ]


async def test_a_structured_event_is_the_same_event() -> None:
    seen = Recorder()
    document = {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:test",
        "type": READINGS_V1,
        "datacontenttype": "application/json",
        "data": {"a": 1},
    }
    headers = {"content-type": "application/cloudevents+json"}
    response = await post(seen, json.dumps(document).encode(), headers)
    assert response.status_code == 202
    assert json.loads(seen.events[0].data) == {"a": 1}
    assert seen.events[0].key == Event("1", "urn:test", "x", seen.events[0].data).key


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Retry("clickhouse is away"), 503, None),
        (Retry("clickhouse is away", after=1.2), 503, "2"),
        (Retry("too much", overloaded=True, after=3), 429, "3"),
        (Poison("no payload"), 400, None),
        (RuntimeError("secret detail"), 500, None),
    ],
)
async def test_an_error_has_its_status_and_a_problem_document(
    error: Exception, status: int, retry_after: str | None
) -> None:
    response = await post(Recorder(error))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers.get("retry-after") == retry_after
    assert response.json()["status"] == status
    assert "secret detail" not in response.text


async def test_the_unforeseen_is_logged_once_with_its_trace() -> None:
    with structlog.testing.capture_logs() as logs:
        await post(Recorder(RuntimeError("why")))
    failures = [line for line in logs if line["log_level"] == "error"]
    assert [line["event"] for line in failures] == ["event failed"]
    assert failures[0]["exc_info"]


@pytest.mark.parametrize("missing", ["ce-id", "ce-source", "ce-specversion", "ce-type"])
def test_an_attribute_that_is_missing_is_named(missing: str) -> None:
    given = [(name.encode(), text.encode()) for name, text in BINARY.items() if name != missing]
    with pytest.raises(MalformedEventError, match=f"^not a CloudEvent: without {missing}$"):
        decode_event(given, b"{}")


async def test_refused_events_fill_no_log() -> None:
    app = EventApp("test", Recorder(Poison("no good")), max_body_bytes=1000)
    with structlog.testing.capture_logs() as logs:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://test"
        ) as client:
            for headers in [{}, BINARY] * 50:
                assert (await client.post("/", headers=headers)).status_code == 400
    assert logs[0]["event"] == "event refused"
    assert len(logs) < 50


async def test_events_given_back_are_a_trouble_for_a_while() -> None:
    app = EventApp("test", Recorder(Retry("clickhouse is away")), max_body_bytes=1000)
    assert app.trouble is None
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://test"
    ) as client:
        await client.post("/", content=b"{}", headers=BINARY)
    assert app.trouble == "events are given back: clickhouse is away"


def test_a_line_about_refusals_says_how_many_had_none() -> None:
    now = 0.0
    with structlog.testing.capture_logs() as logs:
        refusals = Refusals(structlog.get_logger(), clock=lambda: now)
        for now in (0.0, 0.1, 0.9, 1.0):  # noqa: B007
            refusals.tell("malformed", "no CloudEvent")
    assert [line["untold"] for line in logs] == [0, 2]


async def test_a_body_over_the_limit_is_refused_before_the_handler() -> None:
    seen = Recorder()
    response = await post(seen, b"x" * 1001)
    assert (response.status_code, seen.events) == (413, [])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {name: value for name, value in BINARY.items() if name != "ce-id"},
        BINARY | {"ce-specversion": "7"},
        BINARY | {"ce-time": "yesterday"},
        BINARY | {"ce-time": "2026-11-23T19:32:18"},
        {"content-type": "application/cloudevents+json"},
        {"content-type": "application/cloudevents-batch+json"},
    ],
)
async def test_what_is_no_cloudevent_is_a_bad_request(headers: dict[str, str]) -> None:
    seen = Recorder()
    response = await post(seen, b"[]", headers)
    assert (response.status_code, seen.events) == (400, [])


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("PUT", "/", 405), ("GET", "/metrics", 200)]
)
async def test_only_events_and_metrics_are_answered(method: str, path: str, status: int) -> None:
    transport = httpx.ASGITransport(app=EventApp("test", Recorder(), max_body_bytes=10))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.request(method, path)
    assert response.status_code == status
    if path == "/metrics":
        assert "sensor_function_events_total" in response.text


@given(
    headers=st.dictionaries(
        st.sampled_from([*BINARY, "ce-time", "ce-subject", "ce-x"]), st.binary(max_size=40)
    ),
    body=st.binary(max_size=100),
)
def test_arbitrary_headers_and_bytes_decode_or_are_malformed(
    headers: dict[str, bytes], body: bytes
) -> None:
    try:
        event = decode_event([(name.encode(), value) for name, value in headers.items()], body)
    except MalformedEventError:
        return
    assert event.id
    assert event.source


def test_a_kafka_record_in_binary_mode_carries_every_attribute() -> None:
    event = Event(
        id="1",
        source="urn:test",
        type=READINGS_V1,
        data=b"{}",
        content_type="application/json",
        subject="s",
        time=datetime(2026, 11, 23, 19, 32, 18, 979_923, tzinfo=UTC),
        extensions={"partitionkey": "p", "traceparent": "00-ab-cd-01"},
    )
    key, value, headers = to_kafka(event)
    assert (key, value) == (b"p", b"{}")
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_source": b"urn:test",
        "ce_type": READINGS_V1.encode(),
        "content-type": b"application/json",
        "ce_subject": b"s",
        "ce_time": b"2026-11-23T19:32:18.979Z",
        "ce_partitionkey": b"p",
        "ce_traceparent": b"00-ab-cd-01",
        "traceparent": b"00-ab-cd-01",
    }


def test_the_key_of_an_event_is_its_source_its_id_and_what_it_holds() -> None:
    def key(id_: str, source: str, data: bytes = b"") -> str:
        return Event(id_, source, "t", data).key

    assert key("1", "a", b"x") == key("1", "a", b"x")
    different = {key("1", "a"), key("2", "a"), key("1", "b"), key("a", "1"), key("1", "a", b"x")}
    assert len(different) == 5


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    moment = datetime.fromisoformat("2026-11-23T22:32:18.979923+03:00")
    assert rfc3339(moment) == "2026-11-23T19:32:18.979Z"


def test_headers_may_hold_any_attribute_name() -> None:
    raw: list[tuple[bytes, bytes]] = [(k.encode(), v.encode()) for k, v in BINARY.items()]
    event = decode_event([*raw, (b"ce-comexample", b"v")], b"")
    extensions: dict[str, Any] = dict(event.extensions)
    assert extensions == {"comexample": "v"}


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,19}", fullmatch=True).filter(
    lambda name: name not in ("data", "datacontenttype", "extensions", "time", "specversion")
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


@given(
    attributes=st.dictionaries(NAMES | st.sampled_from(["id", "source", "type"]), VALUES),
    version=st.sampled_from(["1.0", "1.0", "1.0", "0.3", "2", ""]),
    kind=st.none() | VALUES.map(str.strip),
    time=st.none() | st.datetimes(timezones=st.just(UTC)).map(rfc3339) | VALUES,
    body=st.binary(max_size=20),
)
def test_a_binary_event_is_decoded_as_the_cloudevents_library_does_it(
    attributes: dict[str, str], version: str, kind: str | None, time: str | None, body: bytes
) -> None:
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    headers |= {"ce-specversion": version}
    headers |= {} if kind is None else {"content-type": kind}
    headers |= {} if time is None else {"ce-time": time}
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]

    def decoded(required: frozenset[str]) -> Event | None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, "_REQUIRED", required)
            try:
                event = decode_event(lines, body)
            except MalformedEventError:
                return None
        # Without a time the library would have it be now.
        return event if time else replace(event, time=None)

    assert decoded(events._REQUIRED) == decoded(frozenset({"a header that never comes"}))
