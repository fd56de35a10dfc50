"""The producer's process against the real Kafka."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client.parser import text_string_to_metric_families

from sensor_producer.account import read_ledger
from sensor_producer.checksum import scramble
from sensor_producer.totals import Totals
from sensor_shared.contracts.events import PLAIN_KAFKA_RECORD, READINGS_V1, Event, new_id
from sensor_shared.contracts.readings import decode

pytestmark = pytest.mark.integration

PARTITIONS = 3
FREQUENT = {
    "TWINUP_FAULTS_FAILED": "0.05",
    "TWINUP_FAULTS_LATE": "0.05",
    "TWINUP_FAULTS_REPEATED": "0.05",
}
HEALTHY = {
    f"TWINUP_FAULTS_{fault}": "0"
    for fault in ("FAILED", "SILENT", "LATE", "REPEATED", "STUCK", "DRIFT", "SPIKE", "OVERHEAT")
}


def wait_until(what: str, condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Running:
    """A producer in a process of its own; its log lines are read from a file."""

    def __init__(self, brokers: str, topic: str, folder: Path, settings: dict[str, str]):
        self._log = folder / f"{new_id()}.log"
        environ = {key: value for key, value in os.environ.items() if "TWINUP_" not in key}
        environ |= {
            "TWINUP_KAFKA_BROKERS": brokers,
            "TWINUP_KAFKA_TOPIC": topic,
            "TWINUP_SERVER_PORT": "0",
            "TWINUP_PRODUCER_DEVICE_COUNT": "100",
            "TWINUP_PRODUCER_PRODUCE_INTERVAL": "100ms",
            "TWINUP_PRODUCER_LEDGER_DIR": str(folder / "ledger"),
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sensor_producer"], env=environ | settings, stderr=log
            )

    def lines(self) -> list[dict[str, Any]]:
        text = self._log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def line(self, event: str) -> dict[str, Any]:
        """Waits for the line of an event."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [line for line in self.lines() if line["event"] == event]
            return bool(found) or self.process.poll() is not None

        wait_until(f"log line {event!r}", there)
        assert found, self._log.read_text(encoding="utf-8")
        return found[-1]

    def get(self, path: str) -> tuple[int, str]:
        port = self.line("producing")["metrics_port"]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        result = answer.status, answer.read().decode()
        connection.close()
        return result

    def metric(self, name: str) -> float:
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return sum(
            sample.value for family in families for sample in family.samples if sample.name == name
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@dataclass
class Content:
    """What a topic holds: (device, timestamp) of valid readings, rejects, raw records."""

    readings: Counter[tuple[str, int]]
    rejects: int
    records: list[Message]


def read_topic(brokers: str, topic: str, *, once: bool = False) -> Content:
    """Reads all that a topic holds; each event only once when that is asked for."""
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": new_id(), "enable.auto.commit": False}
    )
    partitions = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
    left = sum(consumer.get_watermark_offsets(one, timeout=10)[1] for one in partitions)
    consumer.assign(partitions)
    content = Content(Counter(), 0, [])
    deadline = time.monotonic() + 30
    while left and time.monotonic() < deadline:
        for message in consumer.consume(min(left, 500), 0.5):
            assert message.error() is None
            content.records.append(message)
            left -= 1
    consumer.close()
    assert left == 0
    if once:
        first = {headers_of(message)["ce_id"]: message for message in reversed(content.records)}
        content.records[:] = first.values()
    for message in content.records:
        decoded = decode(event_of(message), now_ms=int(time.time() * 1000))
        times = np.asarray(decoded.batch.column("timestamp")).astype(np.int64)
        ids = decoded.batch.column("device_id").to_pylist()
        content.readings.update(zip(ids, times.tolist(), strict=True))
        content.rejects += len(decoded.rejects)
    return content


def headers_of(message: Message) -> dict[str, str]:
    headers = message.headers() or []
    assert isinstance(headers, list)
    return {name: value.decode() for name, value in headers if isinstance(value, bytes)}


def event_of(message: Message) -> Event:
    headers = headers_of(message)
    value = message.value()
    assert value is not None
    return Event(
        id=headers.get("ce_id", ""),
        source=headers.get("ce_source", ""),
        type=headers.get("ce_type", PLAIN_KAFKA_RECORD),
        data=value,
        content_type=headers.get("content-type"),
    )


def create_topic(brokers: str, name: str) -> str:
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1)]).values():
        future.result(30)
    return name


@pytest.fixture
def topic(kafka_broker: str) -> str:
    return create_topic(kafka_broker, f"producer-{new_id()}")


Start = Callable[..., Running]


@pytest.fixture
def start(kafka_broker: str, tmp_path: Path) -> Iterator[Start]:
    """Starts producers and ends what a failed test leaves."""
    started: list[Running] = []

    def begin(topic: str, brokers: str = kafka_broker, **settings: str) -> Running:
        started.append(Running(brokers, topic, tmp_path, settings))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait()


@dataclass
class OwnKafka:
    """A broker that a test may pause, end, and begin again on the same data and port."""

    brokers: str
    process: subprocess.Popen[bytes]
    start: Callable[[], "subprocess.Popen[bytes]"]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def begin(self) -> None:
        self.process = self.start()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(brokers: str) -> bool:
    try:
        AdminClient({"bootstrap.servers": brokers, "log_level": 0}).list_topics(timeout=1)
    except KafkaException:
        return False
    return True


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[OwnKafka]:
    port, controller_port = free_port(), free_port()
    command = ["--data", tmp_path / "kafka", "--port", port, "--controller-port", controller_port]

    def begin() -> "subprocess.Popen[bytes]":
        with (tmp_path / "kafka.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "sensor_local.kafka", *map(str, command)],
                stdout=log,
                stderr=log,
            )

    kafka = OwnKafka(f"127.0.0.1:{port}", begin(), begin)
    try:
        wait_until(
            "Kafka answers",
            lambda: kafka.process.poll() is not None or answers(kafka.brokers),
            60,
        )
        assert kafka.process.poll() is None, (tmp_path / "kafka.log").read_text(encoding="utf-8")
        yield kafka
    finally:
        kafka.end()


@pytest.mark.parametrize("form", ["arrow", "json", "single", "plain"])
def test_what_kafka_acknowledged_is_in_the_topic_and_in_the_ledger(
    form: str, topic: str, kafka_broker: str, start: Start, tmp_path: Path
) -> None:
    """Two runs, one after another, add up; faults are where they should be."""
    totals = Totals()
    for _ in range(2):
        running = start(
            topic, TWINUP_PRODUCER_FORMAT=form, TWINUP_PRODUCER_MAX_READINGS="800", **FREQUENT
        )
        assert running.process.wait(60) == 0
        line = running.line("stopped")
        assert line["unacknowledged"] == line["waiting"] == 0
        totals += Totals(line["acknowledged"], line["repeated"], line["invalid"])
    assert totals.acknowledged == 2 * 800 + totals.repeated
    assert totals.repeated > 0
    assert totals.invalid > 0

    content = read_topic(kafka_broker, topic)
    assert content.readings.total() == totals.distinct + totals.repeated
    assert len(content.readings) == totals.distinct
    assert set(content.readings.values()) == {1, 2}
    assert content.rejects == totals.invalid

    account = read_ledger(tmp_path / "ledger")
    assert account.totals() == totals
    assert [run.unacknowledged for run in account.runs] == [0, 0]
    times: dict[tuple[int, str], list[int]] = {}
    for device_id, timestamp_ms in content.readings:
        times.setdefault((timestamp_ms // 60_000 * 60_000, device_id), []).append(timestamp_ms)
    for start_ms in account.minutes:
        minute = account.minute(start_ms)
        for position, device_id in enumerate(account.device_ids):
            expected = np.array(times.pop((start_ms, device_id), []), dtype=np.int64)
            assert minute.count[position] == len(expected)
            assert minute.checksum[position] == scramble(expected).sum(dtype=np.uint64)
    assert times == {}


@pytest.mark.parametrize("form", ["arrow", "json"])
def test_records_are_cloudevents_below_64_kb_in_all_partitions(
    form: str, topic: str, kafka_broker: str, start: Start
) -> None:
    running = start(topic, TWINUP_PRODUCER_FORMAT=form, TWINUP_PRODUCER_DURATION="500ms")
    assert running.process.wait(60) == 0
    source = f"urn:twinup:producer:{running.line('producing')['run']}"
    devices: set[str] = set()
    records = read_topic(kafka_broker, topic).records
    for message in records:
        headers = headers_of(message)
        assert headers["ce_specversion"] == "1.0"
        assert headers["ce_type"] == READINGS_V1
        assert headers["ce_source"] == source
        assert (message.key() or b"").decode() == headers["ce_partitionkey"]
        assert headers["traceparent"] == headers["ce_traceparent"]
        event = event_of(message)
        assert len(event.data) < 64_000
        devices |= set(decode(event, int(time.time() * 1000)).batch["device_id"].to_pylist())
    assert len({headers_of(message)["ce_id"] for message in records}) == len(records)
    assert {message.partition() for message in records} == set(range(PARTITIONS))
    assert len(devices) > 50


def test_sigterm_delivers_everything_and_the_endpoint_shows_it(
    topic: str, kafka_broker: str, start: Start, tmp_path: Path
) -> None:
    running = start(topic, **FREQUENT)
    wait_until(
        "500 readings acknowledged",
        lambda: running.metric("sensor_producer_messages_produced_total") >= 500,
    )
    assert running.metric("sensor_producer_latency_ms_count") >= 500
    assert running.metric("sensor_producer_readings_generated_total") >= 500
    assert running.metric("sensor_producer_behind_seconds") < 5
    assert running.get("/health/readiness")[0] == 200
    assert running.end() == 0
    line = running.line("stopped")
    content = read_topic(kafka_broker, topic)
    assert line["unacknowledged"] == 0
    assert line["acknowledged"] == content.readings.total() + content.rejects
    assert read_ledger(tmp_path / "ledger").totals().acknowledged == line["acknowledged"]


def test_a_killed_producer_has_acknowledged_no_more_than_the_topic_holds(
    topic: str, kafka_broker: str, start: Start, tmp_path: Path
) -> None:
    running = start(topic)
    ledger = tmp_path / "ledger"
    wait_until("a flushed ledger", lambda: read_ledger(ledger).totals().acknowledged > 1_000)
    running.end(signal.SIGKILL)
    account = read_ledger(ledger)
    content = read_topic(kafka_broker, topic)
    assert 1_000 < account.totals().distinct <= len(content.readings)
    assert account.runs[0].ended_ms is None


def test_a_paused_kafka_costs_time_and_no_reading(
    own_kafka: OwnKafka, start: Start, tmp_path: Path
) -> None:
    """Every device's timestamps are complete from the first to the last."""
    topic = create_topic(own_kafka.brokers, f"producer-{new_id()}")
    running = start(topic, own_kafka.brokers, TWINUP_PRODUCER_QUEUE_RECORDS="20", **HEALTHY)
    wait_until(
        "some readings", lambda: running.metric("sensor_producer_messages_produced_total") > 500
    )
    own_kafka.process.send_signal(signal.SIGSTOP)
    wait_until("behind", lambda: running.metric("sensor_producer_behind_seconds") > 2)
    assert running.metric("sensor_producer_queue_records") >= 20
    own_kafka.process.send_signal(signal.SIGCONT)
    wait_until("caught up", lambda: running.metric("sensor_producer_behind_seconds") < 0.2)
    assert running.end() == 0
    content = read_topic(own_kafka.brokers, topic)
    assert set(content.readings.values()) == {1}
    of_device: dict[str, list[int]] = {}
    for device_id, timestamp_ms in sorted(content.readings):
        of_device.setdefault(device_id, []).append(timestamp_ms)
    assert len(of_device) == 100
    for times in of_device.values():
        assert set(np.diff(times).tolist()) == {100}
    assert read_ledger(tmp_path / "ledger").totals().distinct == len(content.readings)


def test_sigterm_without_kafka_says_how_much_is_not_acknowledged(
    own_kafka: OwnKafka, start: Start
) -> None:
    topic = create_topic(own_kafka.brokers, f"producer-{new_id()}")
    running = start(topic, own_kafka.brokers, TWINUP_PRODUCER_STOP_TIMEOUT="500ms")
    wait_until(
        "some readings", lambda: running.metric("sensor_producer_messages_produced_total") > 100
    )
    own_kafka.process.send_signal(signal.SIGSTOP)
    wait_until(
        "a queue, in memory or on disk by now",
        lambda: (
            running.metric("sensor_producer_queue_records")
            + running.metric("sensor_producer_spool_records")
            > 20
        ),
    )
    assert running.end() == 1
    assert running.line("Kafka has not acknowledged everything that was sent")["readings"] > 20
    assert running.line("stopped")["unacknowledged"] > 20


def test_it_waits_for_its_topic(kafka_broker: str, start: Start) -> None:
    name = f"producer-{new_id()}"
    running = start(name, TWINUP_PRODUCER_MAX_READINGS="100")
    running.line("waiting for the topic")
    create_topic(kafka_broker, name)
    assert running.process.wait(60) == 0
    assert running.line("stopped")["acknowledged"] >= 100


def test_it_can_be_stopped_before_kafka_is_there(start: Start) -> None:
    running = start("none", f"127.0.0.1:{free_port()}")
    running.line("waiting for Kafka")
    assert running.end() == 0
    running.line("stopped before the topic was there")


def test_a_mistake_in_the_settings_ends_it_with_one_message(start: Start, topic: str) -> None:
    running = start(topic, TWINUP_PRODUCER_DEVICE_COUNT="none")
    assert running.process.wait(30) == 1
    assert "TWINUP_PRODUCER_DEVICE_COUNT" in running._log.read_text(encoding="utf-8")


@dataclass
class Spooling:
    """The settings of a producer with a spool, and what it has in there."""

    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "TWINUP_PRODUCER_SPOOL_DIR": str(self.folder),
            "TWINUP_PRODUCER_SPOOL_AFTER": "300ms",
            **FREQUENT,
        }

    def files(self) -> list[Path]:
        return list(self.folder.glob("*/*.spool"))


@pytest.fixture
def spooling(tmp_path: Path) -> Spooling:
    return Spooling(tmp_path / "spool")


def assert_ledger_equals_topic(ledger: Path, content: Content) -> None:
    """Every event came once, and the ledger has exactly what the topic has."""
    ids = [headers_of(message)["ce_id"] for message in content.records]
    assert len(set(ids)) == len(ids)
    assert_ledger_equals(ledger, content)


def assert_ledger_equals(ledger: Path, content: Content) -> None:
    account = read_ledger(ledger)
    assert account.totals().distinct == len(content.readings)
    assert account.totals().invalid == content.rejects
    assert account.totals().repeated == content.readings.total() - len(content.readings)
    checksum = sum(int(account.minute(start).checksum.sum()) for start in account.minutes)
    times = np.array([time for _, time in content.readings], dtype=np.int64)
    assert checksum % 2**64 == int(scramble(times).sum(dtype=np.uint64))


def test_with_kafka_in_time_nothing_is_written_to_disk(
    topic: str, start: Start, spooling: Spooling
) -> None:
    settings = spooling.settings | {"TWINUP_PRODUCER_SPOOL_AFTER": "60s"}
    running = start(topic, TWINUP_PRODUCER_MAX_READINGS="2000", **settings)
    wait_until("some readings", lambda: running.metric("sensor_producer_records_total") > 0)
    assert running.metric("sensor_producer_spooled_readings_total") == 0
    assert running.metric("sensor_producer_spool_limit_bytes") == 2**30
    assert running.process.wait(60) == 0
    assert [path.name for path in spooling.folder.iterdir()] == ["lock"]


def test_an_ended_kafka_is_outlived_by_the_spool_and_everything_arrives_once(
    own_kafka: OwnKafka, start: Start, spooling: Spooling, tmp_path: Path
) -> None:
    """It is killed, and started again on the same data and port."""
    topic = create_topic(own_kafka.brokers, f"producer-{new_id()}")
    running = start(topic, own_kafka.brokers, **spooling.settings)
    wait_until(
        "some readings", lambda: running.metric("sensor_producer_messages_produced_total") > 500
    )
    own_kafka.end()
    wait_until("a spool", lambda: running.metric("sensor_producer_spooled_readings_total") > 3_000)
    assert running.metric("sensor_producer_behind_seconds") < 2
    assert running.metric("sensor_producer_spool_bytes") > 0
    assert "Kafka is away" in running.get("/health/readiness")[1]
    own_kafka.begin()
    wait_until("empty", lambda: running.metric("sensor_producer_spool_records") == 0, 90)
    assert running.end() == 0
    assert spooling.files() == []
    for event in ("Kafka does not acknowledge, spooling to disk", "the spool is empty"):
        running.line(event)
    content = read_topic(own_kafka.brokers, topic)
    assert_ledger_equals_topic(tmp_path / "ledger", content)


def test_a_killed_producers_spool_is_sent_by_the_next_one_and_enters_its_ledger(
    own_kafka: OwnKafka, start: Start, spooling: Spooling, tmp_path: Path
) -> None:
    topic = create_topic(own_kafka.brokers, f"producer-{new_id()}")
    killed = start(topic, own_kafka.brokers, **spooling.settings)
    wait_until(
        "some readings", lambda: killed.metric("sensor_producer_messages_produced_total") > 500
    )
    own_kafka.end()
    # By then the ledger has had its second to be flushed.
    wait_until("a spool", lambda: killed.metric("sensor_producer_spooled_readings_total") > 3_000)
    spooled = killed.metric("sensor_producer_spool_records")
    run = killed.line("producing")["run"]
    before = read_ledger(tmp_path / "ledger").totals()
    killed.end(signal.SIGKILL)
    assert spooling.files()

    own_kafka.begin()
    second = start(
        topic, own_kafka.brokers, TWINUP_PRODUCER_FIRST_DEVICE="100", **spooling.settings
    )
    assert second.line("an earlier run has left records, they are sent first")["records"] >= spooled
    wait_until("empty", lambda: second.metric("sensor_producer_spool_records") == 0, 90)
    assert second.end() == 0
    assert spooling.files() == []
    content = read_topic(own_kafka.brokers, topic)
    # What Kafka had when the first producer died, and it did not live to hear, came once more.
    assert_ledger_equals(tmp_path / "ledger", read_topic(own_kafka.brokers, topic, once=True))
    source = f"urn:twinup:producer:{run}"
    sources = Counter(headers_of(one)["ce_source"] for one in content.records)
    assert sources[source] >= spooled
    assert len(sources) == 2
    account = read_ledger(tmp_path / "ledger")
    assert [one.ended_ms is None for one in account.runs] == [True, False]
    assert account.totals().acknowledged > before.acknowledged
    numbers = {int(device[-6:]) for device, _ in content.readings}
    assert min(numbers) < 100 <= max(numbers) < 200


def test_a_stopped_producer_leaves_the_rest_in_the_spool(
    own_kafka: OwnKafka, start: Start, spooling: Spooling
) -> None:
    topic = create_topic(own_kafka.brokers, f"producer-{new_id()}")
    running = start(
        topic, own_kafka.brokers, TWINUP_PRODUCER_STOP_TIMEOUT="200ms", **spooling.settings
    )
    wait_until(
        "some readings", lambda: running.metric("sensor_producer_messages_produced_total") > 100
    )
    own_kafka.process.send_signal(signal.SIGSTOP)
    wait_until("a queue", lambda: running.metric("sensor_producer_queue_records") > 5)
    assert running.end() == 0
    line = running.line("stopped")
    assert line["unacknowledged"] == line["spooled"] > 5
    assert spooling.files()


def test_a_full_spool_makes_the_fleet_wait_and_lose_nothing(
    own_kafka: OwnKafka, start: Start, spooling: Spooling, tmp_path: Path
) -> None:
    topic = create_topic(own_kafka.brokers, f"producer-{new_id()}")
    settings = spooling.settings | HEALTHY | {"TWINUP_PRODUCER_SPOOL_MAX_BYTES": "1000000"}
    running = start(topic, own_kafka.brokers, **settings)
    wait_until(
        "some readings", lambda: running.metric("sensor_producer_messages_produced_total") > 100
    )
    own_kafka.process.send_signal(signal.SIGSTOP)
    wait_until("full", lambda: running.metric("sensor_producer_spool_full_total") >= 1, 60)
    wait_until("behind", lambda: running.metric("sensor_producer_behind_seconds") > 1)
    assert 500_000 < running.metric("sensor_producer_spool_bytes") <= 1_000_000
    assert "full, the fleet waits" in running.get("/health/readiness")[1]
    running.line("the spool is half full")
    own_kafka.process.send_signal(signal.SIGCONT)
    wait_until("empty", lambda: running.metric("sensor_producer_spool_records") == 0, 60)
    wait_until("caught up", lambda: running.metric("sensor_producer_behind_seconds") < 0.2)
    assert running.end() == 0
    content = read_topic(own_kafka.brokers, topic)
    assert_ledger_equals_topic(tmp_path / "ledger", content)
    of_device: dict[str, list[int]] = {}
    for device_id, timestamp_ms in sorted(content.readings):
        of_device.setdefault(device_id, []).append(timestamp_ms)
    for times in of_device.values():
        assert set(np.diff(times).tolist()) == {100}
