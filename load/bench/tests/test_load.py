"""The load generator on the real Kafka, and the sampler on a gateway that answers when told to."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from load.bench.flow.gateway import Expected, Sampler
from sensor_local.topics import Topic, create
from sensor_shared.contracts.events import READINGS_V1, Event
from sensor_shared.contracts.readings import decode

ROOT = Path(__file__).parents[3]


def records(broker: str, topic: str, partitions: int) -> Iterator[Message]:
    """Everything that the topic holds now."""
    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": topic, "enable.auto.commit": False}
    )
    try:
        for number in range(partitions):
            partition = TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(partition, timeout=10)
            consumer.assign([partition])
            read = 0
            while read < end:
                message = consumer.poll(10)
                assert message is not None
                assert message.error() is None
                read += 1
                yield message
    finally:
        consumer.close()


@pytest.mark.integration
@pytest.mark.parametrize("form", ["arrow", "json", "single"])
def test_the_load_is_valid_readings_each_once_and_all_of_them_counted(
    kafka_broker: str, form: str
) -> None:
    topic = f"bench-{uuid.uuid4().hex}"
    create(kafka_broker, [Topic(topic, 2, 1, 64, 1024)])
    words = ("--form", form, "--rate", "50000", "--past", "3", "--devices", "500")
    done = subprocess.run(
        [sys.executable, "-m", "load.bench.flow.feed", *words, "--topic", topic],
        cwd=ROOT,
        env={**os.environ, "TWINUP_KAFKA_BROKERS": kafka_broker},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["last"] is True
    keys, seen = set[tuple[str, Any]](), 0
    found = list(records(kafka_broker, topic, 2))
    for message in found:
        headers = dict(message.headers() or [])
        kind = headers["content-type"]
        value = message.value()
        assert isinstance(kind, bytes)
        assert isinstance(value, bytes)
        event = Event("1", "urn:test", READINGS_V1, value, kind.decode())
        decoded = decode(event, time.time_ns() // 1_000_000)
        assert not decoded.rejects
        batch = decoded.batch
        seen += batch.num_rows
        columns = (batch.column(name).to_pylist() for name in ("device_id", "timestamp"))
        keys |= set(zip(*columns, strict=True))
    assert (said["acknowledged"], said["records"]) == (seen, len(found))
    assert len(keys) == seen
    assert 1_400 < seen <= 1_500


class Future:
    """An oracle that always names a reading measured just now."""

    def after(self, moment_us: int) -> Expected:
        return Expected("device_1", moment_us // 1000)


@contextmanager
def gateway(answers: list[tuple[int, bytes]], served: threading.Event) -> Iterator[int]:
    """Gives one answer after the other, then the reading of this moment for ever."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            assert self.headers["Authorization"] == "Bearer token"
            assert self.path == "/api/v1/devices/device_1/metrics"
            if answers:
                status, body = answers.pop(0)
            else:
                status, body = 200, document(time.time() + 1)
                served.set()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def document(seconds: float) -> bytes:
    moment = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"timestamp": moment}).encode()


def test_the_sampler_asks_until_the_reading_itself_shows() -> None:
    served = threading.Event()
    before = (200, document(time.time() - 100))
    with gateway([before, (404, b"{}"), before], served) as port:
        sampler = Sampler(port, "token", Future(), per_second=1.0)  # type: ignore[arg-type]
        sampler.start()
        assert served.wait(30)
        seen = sampler.stop()
    assert seen.failed == 1
    assert seen.requests >= 4
    assert seen.ages_ms
    assert all(0 < age <= 2_000 for age in seen.ages_ms)
