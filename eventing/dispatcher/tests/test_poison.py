"""Records that wedge or lose events on Knative do neither here: each arrives, none blocks."""

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import confluent_kafka.cimpl
import pytest
from aiohttp import web

from sensor_dispatcher.records import Headers

if TYPE_CHECKING:
    from eventing.dispatcher.tests.conftest import Bench, Got

pytestmark = pytest.mark.integration

BINARY: Headers = (("ce_specversion", b"1.0"), ("ce_source", b"/s"), ("ce_type", b"t"))


async def _delivered(bench: "Bench", count: int) -> "list[Got]":
    """Runs until a well-formed record produced last has come and all are committed."""
    bench.produce(b"last")
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.delivered == count + 1)
    assert bench.committed() == {0: count + 1}
    return [got for got in bench.sink.got if got.body != b"last"]


@pytest.mark.parametrize(
    ("key", "encoded"),
    [
        (b"a\r\nX-Evil: 1", "a%0D%0AX-Evil:%201"),
        (b"\x00", "%00"),
        ("Zürich".encode(), "Z%C3%BCrich"),
        (b"\xff\xfe", "%EF%BF%BD%EF%BF%BD"),
    ],
)
async def test_a_strange_key_is_percent_encoded(bench: "Bench", key: bytes, encoded: str) -> None:
    bench.create(bench.topic)
    bench.produce(b"x", key=key)
    (got,) = await _delivered(bench, 1)
    assert got.headers["ce-key"] == encoded
    assert "x-evil" not in got.headers


async def test_strange_attributes_are_percent_encoded(bench: "Bench") -> None:
    bench.create(bench.topic)
    strange = (("ce_id", "ü\n".encode()), ("ce_subject", b"\x01"), ("content-type", b"a\r\nb"))
    bench.produce(b"x", headers=(*BINARY, *strange))
    (got,) = await _delivered(bench, 1)
    assert got.headers["ce-id"] == "%C3%BC%0A"
    assert got.headers["ce-subject"] == "%01"
    assert got.headers["content-type"] == "a%0D%0Ab"


async def test_a_null_header_loses_neither_its_record_nor_others(bench: "Bench") -> None:
    bench.create(bench.topic)
    bench.produce(b"1", headers=(("null", None),))
    bench.produce(b"2", headers=(("ce_specversion", None), ("ce_id", None)))
    bench.produce(b"3", headers=(*BINARY, ("ce_id", b"3"), ("ce_subject", None)))
    got = await _delivered(bench, 3)
    assert sorted(g.body for g in got) == [b"1", b"2", b"3"]
    assert [g.headers["ce-id"] for g in got if g.body == b"3"] == ["3"]


async def test_records_without_a_value_are_delivered_with_an_empty_body(bench: "Bench") -> None:
    bench.create(bench.topic)
    bench.produce(None, key=b"tombstone")
    bench.produce(None, headers=(*BINARY, ("ce_id", b"no-data")))
    got = await _delivered(bench, 2)
    assert {g.headers["ce-id"]: g.body for g in got} == {
        "partition:0/offset:0": b"",
        "no-data": b"",
    }


async def test_broken_events_are_delivered_as_plain_records(bench: "Bench") -> None:
    bench.create(bench.topic)
    bench.produce(b"{", headers=(("content-type", b"application/cloudevents+json"),))
    bench.produce(b"x", headers=(*BINARY, ("ce_id", b"1"), ("ce_not-a-name", b"x")))
    got = await _delivered(bench, 2)
    assert {g.headers["ce-type"] for g in got} == {"dev.knative.kafka.event"}


async def test_a_header_name_that_is_no_utf8_does_not_stop_the_consumer(bench: "Bench") -> None:
    """No client of this language can write such a name, but others can."""
    bench.create(bench.topic)
    _produce_raw_header(bench.brokers, bench.topic, b"\xff\xfe", b"v", b"x")
    (got,) = await _delivered(bench, 1)
    assert got.body == b"x"
    assert got.headers["ce-type"] == "dev.knative.kafka.event"


async def test_a_header_too_large_for_the_sink_becomes_a_dead_letter(bench: "Bench") -> None:
    bench.create(bench.topic)
    bench.produce(b"x", headers=(("huge", b"h" * 100_000),))
    bench.produce(b"last")
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.delivered + source.tally.dead_lettered == 2)
    (letter,) = await bench.letters(1)
    assert letter.value == b"x"
    assert bench.committed() == {0: 2}


async def test_a_strange_answer_header_does_not_wedge_the_dead_letter(bench: "Bench") -> None:
    bench.create(bench.topic)

    async def answer(got: "Got") -> web.Response:
        headers = {"Kne-Is_No.Name": "\xfc", "kne-": "x", "kne-id": "evil"}
        return web.Response(status=400 if got.body == b"bad" else 202, headers=headers)

    bench.sink.answer = answer
    bench.produce(b"bad")
    bench.produce(b"last")
    async with bench.dispatching() as source:
        await bench.eventually(lambda: source.tally.dead_lettered == 1)
    (letter,) = await bench.letters(1)
    assert "ce_isnoname" in letter.headers
    assert letter.headers["ce_id"] == "partition:0/offset:0"


def _produce_raw_header(brokers: str, topic: str, name: bytes, value: bytes, data: bytes) -> None:
    """Writes a record by the C library below the client, which takes any bytes as a name."""
    library = ctypes.CDLL(_library_path())
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_topic_new.restype = ctypes.c_void_p
    library.rd_kafka_headers_new.restype = ctypes.c_void_p
    configuration = ctypes.c_void_p(library.rd_kafka_conf_new())
    error = ctypes.create_string_buffer(512)
    library.rd_kafka_conf_set(
        configuration, b"bootstrap.servers", brokers.encode(), error, ctypes.c_size_t(512)
    )
    producer = ctypes.c_void_p(library.rd_kafka_new(0, configuration, error, ctypes.c_size_t(512)))
    headers = ctypes.c_void_p(library.rd_kafka_headers_new(ctypes.c_size_t(1)))
    library.rd_kafka_header_add(
        headers, name, ctypes.c_ssize_t(len(name)), value, ctypes.c_ssize_t(len(value))
    )
    # Tags of rd_kafka_vtype_t: 1 topic, 4 value, 8 message flags (2 = copy), 10 headers, 0 end.
    code = library.rd_kafka_producev(
        producer,
        *(ctypes.c_int(1), ctypes.c_char_p(topic.encode())),
        *(ctypes.c_int(4), ctypes.c_char_p(data), ctypes.c_size_t(len(data))),
        *(ctypes.c_int(7), ctypes.c_int(2)),
        *(ctypes.c_int(10), headers),
        ctypes.c_int(0),
    )
    assert code == 0
    assert library.rd_kafka_flush(producer, ctypes.c_int(30_000)) == 0
    library.rd_kafka_destroy(producer)


def _library_path() -> str:
    """The very library that the client has loaded."""
    assert confluent_kafka.cimpl is not None
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return next(line.split()[-1] for line in maps if "librdkafka" in line)
