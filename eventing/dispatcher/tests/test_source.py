"""A KafkaSource at work against the real Kafka, one test per row of Knative's behaviour."""

import asyncio
import base64
import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

if TYPE_CHECKING:
    from eventing.dispatcher.tests.conftest import Bench, Got

pytestmark = pytest.mark.integration

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BINARY: list[tuple[str, bytes | None]] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"42"),
    ("ce_source", b"/fleet"),
    ("ce_type", b"com.example.v1"),
    ("ce_partitionkey", b"p-1"),
    ("content-type", b"application/json"),
]


async def test_one_plain_record_is_one_post_in_binary_mode(bench: "Bench") -> None:
    bench.create(bench.topic)
    bench.produce(b'{"a": 1}', key=b"device-1", headers=[("version", b"1")])
    async with bench.dispatching():
        await bench.eventually(lambda: bench.sink.got)
    (got,) = bench.sink.got
    assert got.body == b'{"a": 1}'
    assert got.headers["ce-type"] == "dev.knative.kafka.event"
    assert got.headers["ce-source"] == f"/apis/v1/namespaces/ns/kafkasources/source#{bench.topic}"
    assert got.headers["ce-id"] == "partition:0/offset:0"
    assert got.headers["ce-subject"] == "partition:0#0"
    assert got.headers["ce-key"] == got.headers["ce-partitionkey"] == "device-1"
    assert got.headers["ce-kafkaheaderversion"] == "1"
    assert got.headers["ce-knativekafkapartition"] == "0"
    assert got.headers["ce-knativekafkaoffset"] == "0"
    assert got.headers["prefer"] == "reply"
    assert got.headers["kn-namespace"] == "ns"
    assert "content-type" not in got.headers


async def test_a_binary_event_keeps_its_attributes_and_its_trace(bench: "Bench") -> None:
    bench.create(bench.topic)
    bench.produce(b"[]", key=b"unseen", headers=[*BINARY, ("traceparent", TRACE)])
    async with bench.dispatching():
        await bench.eventually(lambda: bench.sink.got)
    (got,) = bench.sink.got
    assert got.headers["ce-id"] == "42"
    assert got.headers["ce-partitionkey"] == "p-1"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["traceparent"] == TRACE.decode()
    assert "ce-key" not in got.headers


async def test_a_structured_event_arrives_in_binary_mode(bench: "Bench") -> None:
    bench.create(bench.topic)
    document = {"specversion": "1.0", "id": "7", "source": "/s", "type": "t", "data": {"x": 1}}
    headers: list[tuple[str, bytes | None]] = [("content-type", b"application/cloudevents+json")]
    bench.produce(json.dumps(document).encode(), headers=headers)
    async with bench.dispatching():
        await bench.eventually(lambda: bench.sink.got)
    (got,) = bench.sink.got
    assert (got.headers["ce-id"], got.headers["content-type"]) == ("7", "application/json")
    assert json.loads(got.body) == {"x": 1}


async def test_a_slow_record_does_not_hold_up_the_records_after_it(bench: "Bench") -> None:
    bench.create(bench.topic)
    gate = asyncio.Event()

    async def answer(got: "Got") -> web.Response:
        if got.body == b"0":
            await gate.wait()
        return web.Response(status=202)

    bench.sink.answer = answer
    for number in range(200):
        bench.produce(b"%d" % number)
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.delivered == 199)
        assert source.tally.in_flight == 1
        assert source.positions() == {(bench.topic, 0): 0}
        gate.set()
        await bench.eventually(lambda: source.tally.delivered == 200)
    assert bench.committed() == {0: 200}


async def test_up_to_99_are_in_flight_and_a_long_stall_loses_nothing(bench: "Bench") -> None:
    """Polls of 50 while fewer than 50 are in flight; then it waits, and stays in its group."""
    bench.create(bench.topic)
    gate = asyncio.Event()

    async def answer(_got: "Got") -> web.Response:
        await gate.wait()
        return web.Response(status=202)

    bench.sink.answer = answer
    for number in range(1_000):
        bench.produce(b"%d" % number)
    bench.flush()
    async with bench.dispatching() as source:
        await bench.eventually(lambda: bench.sink.at_once >= 50)
        await bench.eventually(lambda: source.consumers[0].paused)
        assert 50 <= source.tally.in_flight <= 99
        assert bench.sink.at_once == source.tally.in_flight
        gate.set()
        await bench.eventually(lambda: source.tally.delivered == 1_000)
    assert 50 <= bench.sink.most_at_once <= 99
    assert Counter(bench.sink.bodies()) == {b"%d" % n: 1 for n in range(1_000)}
    assert bench.committed() == {0: 1_000}


RETRIED = (404, 408, 409, 429, 500, 502, 503, 504, 599)
NOT_RETRIED = (300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 405, 410, 413, 415, 422, 451)


async def test_the_retry_table(bench: "Bench") -> None:
    """Each record names the status of its first answer; the second is a success."""
    bench.create(bench.topic)
    seen: Counter[bytes] = Counter()

    async def answer(got: "Got") -> web.Response:
        seen[got.body] += 1
        if seen[got.body] > 1:
            return web.Response(status=202)
        location = {"Location": bench.sink.url + "/elsewhere"}
        return web.Response(status=int(got.body), headers=location)

    bench.sink.answer = answer
    for status in (*RETRIED, *NOT_RETRIED):
        bench.produce(b"%d" % status)
    async with bench.dispatching() as source:
        await bench.eventually(
            lambda: (
                source.tally.delivered == len(RETRIED)
                and source.tally.dead_lettered == len(NOT_RETRIED)
            )
        )
    assert seen == {b"%d" % s: 2 for s in RETRIED} | {b"%d" % s: 1 for s in NOT_RETRIED}
    letters = await bench.letters(len(NOT_RETRIED))
    assert {letter.headers["ce_knativeerrorcode"] for letter in letters} == {
        str(status) for status in NOT_RETRIED
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_is_success_and_a_reply_is_discarded(bench: "Bench", status: int) -> None:
    bench.create(bench.topic)

    async def answer(_got: "Got") -> web.Response:
        reply = {"ce-specversion": "1.0", "ce-id": "r", "ce-source": "/r", "ce-type": "r"}
        return web.Response(status=status, headers=reply, body=None if status == 204 else b"r")

    bench.sink.answer = answer
    bench.produce(b"x")
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.delivered == 1)
    assert bench.sink.bodies() == [b"x"]


async def test_a_try_that_takes_too_long_is_repeated(bench: "Bench") -> None:
    bench.create(bench.topic)
    tries = 0

    async def answer(_got: "Got") -> web.Response:
        nonlocal tries
        tries += 1
        if tries == 1:
            await asyncio.Event().wait()
        return web.Response(status=202)

    bench.sink.answer = answer
    bench.produce(b"x")
    async with bench.dispatching(timeout="PT0.2S") as source:
        await bench.eventually(lambda: source.tally.delivered == 1)
    assert tries == 2


async def test_a_broken_connection_is_repeated_and_then_a_dead_letter(bench: "Bench") -> None:
    bench.create(bench.topic)

    bench.sink.cut = True
    bench.produce(b"x", key=b"k")
    async with bench.dispatching(retry=2) as source:
        await bench.eventually(lambda: source.tally.dead_lettered == 1)
    assert len(bench.sink.got) == 3
    (letter,) = await bench.letters(1)
    assert letter.headers["ce_knativeerrordest"] == bench.sink.url
    assert "ce_knativeerrorcode" not in letter.headers
    assert b"ConnectionResetError" in base64.b64decode(letter.headers["ce_knativeerrordata"])


async def test_a_dead_letter_is_the_event_with_the_reason(bench: "Bench") -> None:
    bench.create(bench.topic)

    async def answer(_got: "Got") -> web.Response:
        return web.Response(status=400, body=b"e" * 5_000, headers={"Kne-Why-Not": "because"})

    bench.sink.answer = answer
    bench.produce(b"\x00\xff", key=b"key", headers=BINARY)
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.dead_lettered == 1)
    (letter,) = await bench.letters(1)
    assert (letter.key, letter.value) == (b"p-1", b"\x00\xff")
    assert letter.headers == {
        **{name: text.decode() for name, text in BINARY if text is not None},
        "ce_knativekafkapartition": "0",
        "ce_knativekafkaoffset": "0",
        "ce_whynot": "because",
        "ce_knativeerrordest": bench.sink.url,
        "ce_knativeerrorcode": "400",
        "ce_knativeerrordata": base64.b64encode(b"e" * 1_024).decode(),
    }
    assert bench.committed() == {0: 1}


async def test_a_structured_kafka_sink_gets_one_json_document(bench: "Bench") -> None:
    bench.create(bench.topic)

    async def answer(_got: "Got") -> web.Response:
        return web.Response(status=400)

    bench.sink.answer = answer
    bench.produce(b"\x00\xff", headers=BINARY)
    async with bench.dispatching(content_mode="structured") as source:
        await bench.eventually(lambda: source.tally.dead_lettered == 1)
    (letter,) = await bench.letters(1)
    assert letter.key == b"p-1"
    assert letter.headers["content-type"].startswith("application/cloudevents+json")
    assert letter.value is not None
    document = json.loads(letter.value)
    assert (document["id"], document["knativeerrorcode"]) == ("42", "400")
    assert base64.b64decode(document["data_base64"]) == b"\x00\xff"


async def test_a_dead_letter_that_is_not_accepted_is_kept_until_it_is(bench: "Bench") -> None:
    """Knative commits and loses it. Here its offset waits, and others are delivered."""
    bench.letters_topic = f"later-{bench.unique}"
    bench.create(bench.topic)

    async def answer(got: "Got") -> web.Response:
        return web.Response(status=400 if got.body == b"bad" else 202)

    bench.sink.answer = answer
    bench.produce(b"bad")
    bench.produce(b"good")
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.retried >= 1)
        assert (source.tally.delivered, source.tally.dead_lettered) == (1, 0)
        assert source.positions() == {(bench.topic, 0): 0}
        bench.create(bench.letters_topic)
        await bench.eventually(lambda: source.tally.dead_lettered == 1)
    (letter,) = await bench.letters(1)
    assert letter.value == b"bad"
    assert bench.committed() == {0: 2}


async def test_a_dead_letter_as_large_as_its_topic_allows_still_gets_there(bench: "Bench") -> None:
    """The answer's words would make it too large: they are left out then."""
    bench.create(bench.topic)
    bench.letters_topic = f"small-{bench.unique}"
    bench.create(bench.letters_topic, config={"max.message.bytes": "1700"})

    async def answer(_got: "Got") -> web.Response:
        return web.Response(status=400, body=_incompressible(1_024))

    bench.sink.answer = answer
    bench.produce(_incompressible(700))
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.dead_lettered == 1)
    (letter,) = await bench.letters(1)
    assert letter.headers["ce_knativeerrordata"] == ""
    assert letter.headers["ce_knativeerrorcode"] == "400"


def _incompressible(size: int) -> bytes:
    return hashlib.shake_128(b"seed").digest(size)
