"""The publisher against a client that refuses, fills up and breaks as told."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from sensor_producer.fleet import Readings
from sensor_producer.publish import Publisher
from sensor_producer.records import Record
from sensor_producer.spool import Spool


class Client:
    """Keeps what it gets until `poll` reports it, with the errors it was told to report."""

    def __init__(self, room: int = 1_000_000):
        self.room = room
        self.errors: list[KafkaError] = []
        self.queue: list[tuple[bytes, Any]] = []
        self.delivered: list[bytes] = []
        self.purged = False

    def produce(self, _topic: str, /, *, value: bytes, on_delivery: Any, **_: Any) -> None:
        if len(self.queue) >= self.room:
            raise BufferError
        self.queue.append((value, on_delivery))

    def poll(self, _timeout: float, /) -> int:
        reports, self.queue = self.queue, []
        for value, report in reports:
            error = self.errors.pop(0) if self.errors else None
            if error is None and self.purged:
                error = KafkaError(KafkaError._PURGE_QUEUE)
            if error is None:
                self.delivered.append(value)
            report(error, None)
        return len(reports)

    def purge(self) -> None:
        self.purged = True


@pytest.fixture
def records(make_readings: Callable[..., Readings]) -> list[Record]:
    return [
        Record(0, b"key", b"%d" % number, [], make_readings([0] * 3, [0, 1, 2]))
        for number in range(20)
    ]


def until_done(publisher: Publisher) -> None:
    for _ in range(200):
        publisher.poll(0.01)
        if not publisher.pending_records:
            return
    pytest.fail("not everything was delivered")


def values(records: list[Record]) -> list[bytes]:
    return [record.value for record in records]


def test_everything_is_delivered_in_order_and_reported(records: list[Record]) -> None:
    client = Client()
    publisher = Publisher("t", lambda: client, clock_ms=lambda: 123.0)
    publisher.send(records)
    assert (publisher.pending_records, publisher.pending_readings) == (20, 60)
    until_done(publisher)
    assert client.delivered == values(records)
    acknowledged = publisher.take_acknowledged()
    assert [one.record for one in acknowledged] == records
    assert {one.at_ms for one in acknowledged} == {123.0}
    assert publisher.take_acknowledged() == []
    assert publisher.pending_readings == 0


def test_a_full_queue_makes_it_wait_and_lose_nothing(records: list[Record]) -> None:
    client = Client(room=3)
    publisher = Publisher("t", lambda: client)
    publisher.send(records)
    assert publisher.congested
    until_done(publisher)
    assert not publisher.congested
    assert client.delivered == values(records)


def test_a_refused_record_is_sent_again(records: list[Record]) -> None:
    client = Client()
    client.errors = [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)] * 2
    publisher = Publisher("t", lambda: client)
    publisher.send(records)
    publisher.poll(0)
    assert publisher.congested
    assert publisher.pending_readings == 6
    until_done(publisher)
    assert sorted(client.delivered) == sorted(values(records))
    assert len(publisher.take_acknowledged()) == len(records)


def test_a_fatal_error_makes_a_new_client_that_gets_everything(records: list[Record]) -> None:
    fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    broken, fresh = Client(), Client()
    broken.errors = [fatal] * 5
    clients = iter([broken, fresh])
    publisher = Publisher("t", lambda: next(clients))
    publisher.send(records)
    until_done(publisher)
    assert broken.purged
    assert len(broken.delivered) == 15
    assert sorted(broken.delivered + fresh.delivered) == sorted(values(records))
    assert sum(len(one.record.readings) for one in publisher.take_acknowledged()) == 60


def test_the_same_record_with_the_same_identity_is_sent_again(records: list[Record]) -> None:
    """So that the consumer recognises it, should Kafka have had it all the same."""
    client = Client()
    client.errors = [KafkaError(KafkaError._MSG_TIMED_OUT)]
    publisher = Publisher("t", lambda: client)
    record = dataclasses.replace(records[0], headers=[("ce_id", b"1")])
    publisher.send([record])
    until_done(publisher)
    (acknowledged,) = publisher.take_acknowledged()
    assert acknowledged.record is record


class Silent(Client):
    """Takes everything and reports nothing until it is told to."""

    away = True

    def poll(self, timeout: float, /) -> int:
        return 0 if self.away else super().poll(timeout)


def test_while_kafka_is_away_records_go_to_disk_and_come_back_once(
    records: list[Record], tmp_path: Path
) -> None:
    client = Silent()
    spool = Spool(tmp_path, "run", limit=1_000_000)
    publisher = Publisher("t", lambda: client, spool=spool, spool_after=0.0, drain_rate=100)
    publisher.send(records[:5])
    assert spool.records == 0
    publisher.poll(0)
    assert publisher.away
    assert spool.records == 5
    publisher.send(records[5:])
    assert (publisher.queued_records, publisher.pending_records) == (5, 20)
    assert publisher.pending_readings == 60
    assert "Kafka is away, 20 records" in publisher.detail()
    assert not publisher.congested
    client.away = False
    publisher.poll(0)
    # With no patience at all every record counts as late at first, and is sent all the same.
    until_done(publisher)
    assert client.delivered == values(records)
    assert sum(len(one.record.readings) for one in publisher.take_acknowledged()) == 60
    assert publisher.detail() == ""
    assert publisher.close() == 0


def test_what_cannot_be_kept_on_disk_is_told_at_the_end(
    records: list[Record], tmp_path: Path
) -> None:
    spool = Spool(tmp_path, "run", limit=1_000)
    publisher = Publisher("t", Silent, spool=spool, spool_after=0.0)
    publisher.send(records)
    publisher.poll(0)
    assert publisher.congested
    kept = spool.readings
    assert 0 < kept < 60
    assert publisher.pending_readings == 60
    assert publisher.close() == 60 - kept
