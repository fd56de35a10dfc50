"""What a dead letter says, where it came from, and what people are shown of it."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sensor_dispatcher.cloudevents import CloudEvent, to_record, to_structured_record
from sensor_dispatcher.delivery import Failure, dead_letter
from sensor_dispatcher.records import Origin, Record, to_event
from sensor_dispatcher.wiring import read
from sensor_local.letters import rendering, summary
from sensor_local.letters.choice import Choice
from sensor_local.letters.contents import as_text, printable, readings_in
from sensor_local.letters.letter import Letter, Position
from sensor_local.letters.origin import Origins
from sensor_local.letters.receipts import is_receipt, put_back, receipt
from sensor_local.letters.summary import summarise
from sensor_shared.contracts.events import ARROW_STREAM, JSON, LETTERS_PUT_BACK_V1, READINGS_V1

ROOT = Path(__file__).parents[4]
ORIGINS = Origins(read(ROOT / "eventing"), {"consumer": "http://127.0.0.1:8084"})
CONSUMER = "http://consumer.twinup.svc.cluster.local"
PROBLEM = b'{"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "no use"}'
EVENT = CloudEvent(
    {
        "specversion": "1.0",
        "id": "event-1",
        "source": "urn:twinup:producer:1",
        "type": READINGS_V1,
        "datacontenttype": JSON,
        "partitionkey": "sensor-1",
    },
    b'[{"device_id": "sensor-1"}, {"device_id": "sensor-2"}]',
)


def letter(
    event: CloudEvent = EVENT,
    failure: Failure | None = None,
    *,
    offset: int = 7,
    structured: bool = False,
) -> Letter:
    """Returns the letter that the dispatcher makes of an event that lay at 1/23."""
    delivered = event.extended({"knativekafkapartition": "1", "knativekafkaoffset": "23"})
    dead = dead_letter(delivered, failure or Failure(CONSUMER, 400, PROBLEM))
    key, value, headers = (to_structured_record if structured else to_record)(dead)
    return Letter.of(
        Record("sensor-dead-letters", 0, offset, 1_700_000_000_000 + offset, key, value, headers)
    )


def changed(**attributes: str) -> CloudEvent:
    return EVENT.extended(attributes)


@pytest.mark.parametrize("structured", [False, True])
def test_the_event_comes_out_of_its_letter_as_it_was_but_for_the_mark(structured: bool) -> None:
    dead = letter(structured=structured)
    assert dead.original() == EVENT.extended({"replayed": "true"})
    assert dead.key == b"sensor-1"
    assert not dead.again


def test_a_plain_record_keeps_the_identity_that_its_first_delivery_gave_it() -> None:
    record = Record("sensor-data", 1, 23, 0, b"k", b"{}", (("h", b"v"),))
    plain = to_event(record, Origin("twinup", "sensor-data-to-consumer", {}))
    dead = letter(plain)
    assert ORIGINS.topic(dead) == "sensor-data"
    key, value, headers = to_record(dead.original())
    again = to_event(
        Record("sensor-data", 0, 99, 0, key, value, headers), Origin("twinup", "other", {})
    )
    assert again.attributes["id"] == "partition:1/offset:23"
    assert again.attributes["source"] == plain.attributes["source"]
    assert again.attributes["knativekafkaoffset"] == "99"
    assert again.data == b"{}"


def test_a_letter_says_why_in_words() -> None:
    assert letter().reason == "no use"
    assert letter(failure=Failure(CONSUMER, None, b"no answer within 20 s")).reason == (
        "no answer within 20 s"
    )
    assert letter(failure=Failure(CONSUMER, 500, b"[1]")).reason == "[1]"
    assert letter(failure=Failure(CONSUMER, 500, b"\xff")).reason == "\N{REPLACEMENT CHARACTER}"


def test_an_answer_that_is_no_base64_is_shown_as_it_came() -> None:
    dead = Letter(Position(0, 0), 0, None, changed(knativeerrordata="plain words"))
    assert dead.reason == "plain words"


@pytest.mark.parametrize(
    ("event", "destination", "topic"),
    [
        # by the Service's name in the cluster, whatever the type
        (changed(type="strange"), CONSUMER, "sensor-data"),
        (changed(type="strange"), "http://alerts.twinup.svc.cluster.local", "sensor-alerts"),
        # by the type
        (changed(), "http://127.0.0.1:50123", "sensor-data"),
        (changed(type="com.twinup.alert.requested.v1"), "http://127.0.0.1:1", "sensor-alerts"),
        # by the address of a function that runs here
        (changed(type="strange"), "http://127.0.0.1:8084/", "sensor-data"),
        # not at all
        (changed(type="strange"), "http://127.0.0.1:50123", None),
        (changed(type="strange"), "http://[", None),
        (CloudEvent({}, b"x"), "", None),
    ],
)
def test_the_topic_is_told_by_the_surest_sign(
    event: CloudEvent, destination: str, topic: str | None
) -> None:
    dead = Letter(Position(0, 0), 0, None, event.extended({"knativeerrordest": destination}))
    assert ORIGINS.topic(dead) == topic


def test_a_stranger_cannot_name_the_topic_that_a_letter_is_put_onto() -> None:
    source = "/apis/v1/namespaces/x/kafkasources/y#payments"
    event = changed(type="dev.knative.kafka.event", source=source)
    assert ORIGINS.topic(letter(event, Failure("http://elsewhere", 400, b""))) is None


def test_a_record_that_is_no_event_is_a_letter_too_and_stays() -> None:
    stray = Letter.of(Record("sensor-dead-letters", 0, 1, 0, None, b"\x00stray"))
    assert ORIGINS.topic(stray) is None
    assert not is_receipt(stray)
    assert stray.answer == ""


def written(event: CloudEvent, offset: int) -> Letter:
    key, value, headers = to_record(event)
    return Letter.of(Record("sensor-dead-letters", 2, offset, 0, key, value, headers))


def test_a_receipt_names_letters_of_its_own_partition_that_lie_before_it() -> None:
    found = written(receipt([9, 3, 50]), offset=10)
    assert is_receipt(found)
    assert put_back(found) == {Position(2, 3), Position(2, 9)}


def test_a_receipt_that_cannot_be_read_names_nothing() -> None:
    attributes = receipt([1]).attributes
    for data in (b"", b"{", b'{"offsets": ["1"]}', b"[" * 100_000):
        assert put_back(written(CloudEvent(attributes, data), offset=10)) == set()


def test_an_event_that_calls_itself_a_receipt_is_a_letter() -> None:
    assert not is_receipt(letter(changed(type=LETTERS_PUT_BACK_V1)))


def arrow(count: int) -> bytes:
    batch = pa.RecordBatch.from_pylist(
        [{"device_id": f"d-{i}", "timestamp": i, "temperature": 20.5} for i in range(count)]
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def test_readings_are_counted_where_there_are_any() -> None:
    columns = CloudEvent({**EVENT.attributes, "datacontenttype": ARROW_STREAM}, arrow(30))
    assert readings_in(EVENT) == 2
    assert readings_in(columns) == 30
    assert readings_in(CloudEvent(EVENT.attributes, b"{")) is None
    assert readings_in(changed(type="strange")) is None


def test_data_is_shown_in_the_form_that_people_read() -> None:
    assert as_text(EVENT) == json.dumps(json.loads(EVENT.data or b""), indent=2)
    columns = as_text(CloudEvent({"datacontenttype": ARROW_STREAM}, arrow(30))).splitlines()
    assert columns[0].split() == ["device_id", "timestamp", "temperature"]
    assert columns[1].split() == ["d-0", "0", "20.5"]
    assert columns[-1] == "… 10 more readings"
    assert as_text(CloudEvent({}, b"\x00abc")) == (
        "000000  00 61 62 63                                      .abc"
    )
    assert as_text(CloudEvent({}, bytes(600))).endswith("… 88 more bytes")
    assert as_text(CloudEvent({}, None)) == "(none)"
    long = as_text(CloudEvent({}, json.dumps(["x" * 9_000]).encode()))
    assert long.endswith("more characters")


@given(st.binary(), st.sampled_from([JSON, ARROW_STREAM, ""]))
def test_no_data_can_command_a_terminal(data: bytes, kind: str) -> None:
    shown = as_text(CloudEvent({"datacontenttype": kind}, data))
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_neither_escapes_nor_markup_reach_the_terminal() -> None:
    assert printable("\x1b[31mred\n") == "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}"
    event = changed(source="\x1b]0;[bold]x", subject="[/nothing]")
    console = Console(width=300, record=True, file=io.StringIO())
    dead = letter(event, Failure(CONSUMER, 400, b"\x1b[2J[red]gone"))
    console.print(rendering.letter(dead, None, put_back=False))
    console.print(rendering.groups(summarise([dead], set(), ORIGINS)))
    shown = console.export_text()
    assert "\x1b" not in shown
    assert shown.count("[red]gone") == 2
    assert "[/nothing]" in shown


def some() -> list[Letter]:
    other = Failure("http://analytics.twinup.svc.cluster.local", None, b"no answer within 20 s")
    return [
        letter(offset=1),
        letter(offset=2),
        letter(failure=other, offset=3),
        letter(changed(replayed="true"), offset=4),
        letter(changed(type="strange"), Failure("http://nowhere", 400, b"x"), offset=5),
    ]


def test_letters_are_counted_by_topic_source_and_reason() -> None:
    done = {Position(0, 2), Position(0, 9)}
    groups = summarise(some(), done, ORIGINS)
    first, *rest = groups
    assert (first.topic, first.source) == ("sensor-data", "urn:twinup:producer:1")
    assert (first.code, first.reason, first.destination) == ("400", "no use", CONSUMER)
    assert (first.letters, first.readings, first.put_back, first.again) == (3, 6, 1, 1)
    assert (first.first_ms, first.last_ms) == (1_700_000_000_001, 1_700_000_000_004)
    assert {(g.topic, g.code, g.readings) for g in rest} == {
        ("sensor-data", "", 2),
        (None, "400", None),
    }
    assert rendering.total(groups) == (
        "5 dead letters, 1 of them put back, 3 to put back, 1 whose topic cannot be told; "
        "1 had failed before"
    )


def test_the_groups_are_there_as_json() -> None:
    document = json.loads(rendering.groups_document(summarise(some(), set(), ORIGINS)))
    assert (document["letters"], document["put_back"]) == (5, 0)
    assert document["groups"][0]["first"] == "2023-11-14T22:13:20.001Z"
    assert document["groups"][0]["readings"] == 6


def test_sources_without_number_share_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "MAX_GROUPS", 2)
    many = [letter(changed(source=f"urn:{n}"), offset=n) for n in range(5)]
    counts = {group.source: group.letters for group in summarise(many, set(), ORIGINS)}
    assert counts == {"(others)": 3, "urn:0": 1, "urn:1": 1}


def test_a_letter_is_shown_whole() -> None:
    document: dict[str, Any] = rendering.letter_document(letter(), "sensor-data", put_back=True)
    assert (document["letter"], document["topic"], document["put_back"]) == (
        "0-7",
        "sensor-data",
        True,
    )
    assert json.loads(document["answer"])["detail"] == "no use"
    assert document["attributes"]["knativekafkaoffset"] == "23"
    assert base64.b64encode(PROBLEM).decode() not in document["attributes"].values()
    assert json.loads(document["data"])[1] == {"device_id": "sensor-2"}


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (Choice(), True),
        (Choice(source="urn:twinup:*"), True),
        (Choice(source="urn:other:*"), False),
        (Choice(topic="sensor-data"), True),
        (Choice(topic="sensor-alerts"), False),
        (Choice(letter="0-7"), True),
        (Choice(letter="0-8"), False),
        (Choice(letter="event-1"), True),
        (Choice(letter="event-2"), False),
    ],
)
def test_letters_are_chosen_by_source_topic_place_or_id(choice: Choice, chosen: bool) -> None:
    assert choice(letter(), "sensor-data") is chosen
