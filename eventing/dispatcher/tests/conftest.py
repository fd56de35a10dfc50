"""A bench for the dispatcher: the real Kafka on one side, a scriptable HTTP sink on the other."""

import asyncio
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, web
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sensor_dispatcher.delivery import RetryPolicy, Sender
from sensor_dispatcher.manifests import KafkaSource
from sensor_dispatcher.records import Headers
from sensor_dispatcher.sink import DeadLetters
from sensor_dispatcher.source import Route, Source
from sensor_dispatcher.wiring import parse

DEADLINE = 40.0


@dataclass(frozen=True)
class Got:
    """One request that the sink got; header names in lower case."""

    headers: dict[str, str]
    body: bytes


Answer = Callable[[Got], Awaitable[web.StreamResponse]]


@dataclass
class HttpSink:
    """Records every request and answers as it is told; 202 unless told otherwise."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    answer: Answer | None = None
    cut: bool = False
    """Whether it cuts the connection instead of answering."""
    at_once: int = 0
    most_at_once: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            headers = {name.lower(): value for name, value in request.headers.items()}
            got = Got(headers, await request.read())
            self.got.append(got)
            if self.cut and request.transport is not None:
                request.transport.abort()
            return await self.answer(got) if self.answer else web.Response(status=202)
        finally:
            self.at_once -= 1

    def bodies(self) -> list[bytes]:
        return [got.body for got in self.got]


@dataclass(frozen=True)
class Letter:
    """A record of the dead letters' topic."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, str]


class Bench:
    """What a test of the dispatcher needs; topics and groups are the test's own."""

    def __init__(self, brokers: str, sink: HttpSink, tmp_path: Path):
        self.brokers = brokers
        self.sink = sink
        self.unique = uuid.uuid4().hex[:12]
        self.topic = f"data-{self.unique}"
        self.letters_topic = f"letters-{self.unique}"
        self.group = f"group-{self.unique}"
        self.folder = tmp_path / "eventing"
        self._client: dict[str, Any] = {"bootstrap.servers": brokers, "log_level": 0}
        self._admin = AdminClient(self._client)
        self._producer = Producer({**self._client, "acks": "all", "linger.ms": 0})

    async def eventually(self, condition: Callable[[], object]) -> None:
        """Waits until the condition holds."""
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110  (it holds by something outside of this loop)
                await asyncio.sleep(0.01)

    def create(self, topic: str, partitions: int = 1, config: dict[str, str] | None = None) -> None:
        (future,) = self._admin.create_topics(
            [NewTopic(topic, partitions, 1, config=config or {})]
        ).values()
        future.result()

    def produce(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int = 0,
    ) -> None:
        self._producer.produce(self.topic, value, key, headers=list(headers), partition=partition)
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(DEADLINE) == 0

    def manifests(self, **delivery: Any) -> dict[str, str]:
        """Returns the files of a source with a dead letter sink; `delivery` changes fields.

        `ping` adds a PingSource with that schedule, `initialOffset` and `consumers` belong to the
        source.
        """
        ping = delivery.pop("ping", None)
        sink = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "sink"}}
        spec = {
            "bootstrapServers": ["ignored:9092"],
            "topics": [self.topic],
            "consumerGroup": self.group,
            "consumers": delivery.pop("consumers", 1),
            "initialOffset": delivery.pop("initialOffset", "earliest"),
            "ordering": "unordered",
            "delivery": {
                "retry": 3,
                "backoffPolicy": "linear",
                "backoffDelay": "PT0.01S",
                "timeout": "PT20S",
                "deadLetterSink": {
                    "ref": {
                        "apiVersion": "eventing.knative.dev/v1alpha1",
                        "kind": "KafkaSink",
                        "name": "letters",
                    }
                },
                **delivery,
            },
            "sink": sink,
        }
        files = {
            "1-source.yaml": _manifest("sources.knative.dev/v1", "KafkaSource", "source", spec),
            "2-letters.yaml": _manifest(
                "eventing.knative.dev/v1alpha1",
                "KafkaSink",
                "letters",
                {"bootstrapServers": ["ignored:9092"], "topic": self.letters_topic},
            ),
        }
        if ping is not None:
            tick = {"schedule": ping, "data": "{}", "contentType": "application/json"}
            files["3-ping.yaml"] = _manifest(
                "sources.knative.dev/v1", "PingSource", "ping", {**tick, "sink": sink}
            )
        return files

    @asynccontextmanager
    async def starting(
        self, *, content_mode: str = "binary", grace: float = 5.0, **delivery: Any
    ) -> AsyncIterator[Source]:
        """Runs a source in this process until the block ends, then stops it in order."""
        wiring = parse(self.manifests(**delivery))
        (manifest,) = wiring.kafka_sources
        (sink,) = wiring.kafka_sinks
        spec = sink.spec.model_copy(update={"content_mode": content_mode})
        letters = DeadLetters(self.brokers, sink.model_copy(update={"spec": spec}), timeout=1.0)
        source = Source(manifest, self.brokers, self._route(manifest, letters))
        source.start()
        try:
            yield source
        finally:
            await source.stop(grace)
            await letters.close()

    @asynccontextmanager
    async def dispatching(self, **settings: Any) -> AsyncIterator[Source]:
        """Like `starting`, from the moment on when the source has joined its group."""
        async with self.starting(**settings) as source:
            await self.eventually(source.joined)
            yield source

    def _route(self, source: KafkaSource, letters: DeadLetters) -> Route:
        policy = RetryPolicy.of(source.spec.delivery)
        return Route(Sender(self.sink.url, policy), letters, "ns")

    async def letters(self, count: int) -> list[Letter]:
        """Reads that many dead letters from the beginning of their topic."""
        return await asyncio.to_thread(self._read, count)

    def _read(self, count: int) -> list[Letter]:
        reader = Consumer({**self._client, "group.id": f"read-{self.unique}"})
        reader.assign([TopicPartition(self.letters_topic, 0, 0)])
        try:
            messages = reader.consume(count, DEADLINE)
        finally:
            reader.close()
        found = []
        for message in messages:
            assert message.error() is None
            headers: Any = message.headers() or []
            found.append(
                Letter(
                    message.key(), message.value(), {name: text.decode() for name, text in headers}
                )
            )
        assert len(found) == count
        return found

    def committed(self) -> dict[int, int]:
        """Returns the group's committed offsets by partition."""
        futures: Any = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self.group)]
        )
        found: Sequence[TopicPartition] = futures[self.group].result().topic_partitions
        return {tp.partition: tp.offset for tp in found}

    @asynccontextmanager
    async def process(self, **delivery: Any) -> AsyncIterator["DispatcherProcessUnderTest"]:
        """Runs `python -m sensor_dispatcher` over these manifests; kills what is left of it."""
        self.folder.mkdir(exist_ok=True)
        for name, text in self.manifests(**delivery).items():
            (self.folder / name).write_text(text, encoding="utf-8")
        port = _free_port()
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TWINUP_")},
            "TWINUP_DISPATCHER_SINKS": f"sink={self.sink.url}",
            "TWINUP_DISPATCHER_NAMESPACE": "ns",
            "TWINUP_KAFKA_BROKERS": self.brokers,
            "TWINUP_SERVER_PORT": str(port),
            "TWINUP_CONFIG_DIR": str(self.folder / "none"),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "sensor_dispatcher", str(self.folder)),
            env=environ,
            stderr=asyncio.subprocess.DEVNULL,
        )
        running = DispatcherProcessUnderTest(process, f"http://127.0.0.1:{port}")
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@dataclass
class DispatcherProcessUnderTest:
    """A dispatcher in a process of its own."""

    process: asyncio.subprocess.Process
    url: str

    async def get(self, path: str) -> tuple[int, str]:
        async with ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def ready(self) -> None:
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    if (await self.get("/health/readiness"))[0] == 200:
                        return
                except OSError:
                    pass
                assert self.process.returncode is None, "the dispatcher ended"
                await asyncio.sleep(0.05)

    async def source(self, name: str) -> dict[str, Any]:
        """Returns what /status says of one source."""
        state: dict[str, Any] = json.loads((await self.get("/status"))[1])["sources"][name]
        return state

    async def drained(self, name: str) -> dict[str, Any]:
        """Waits until nothing is left to deliver; returns the state then."""
        async with asyncio.timeout(DEADLINE):
            while True:
                state = await self.source(name)
                if (state["lag"], state["in_flight"]) == (0, 0):
                    return state
                await asyncio.sleep(0.05)

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), DEADLINE)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


def _manifest(api_version: str, kind: str, name: str, spec: dict[str, Any]) -> str:
    document = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    return yaml.safe_dump(document)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
async def http_sink() -> AsyncIterator[HttpSink]:
    sink = HttpSink()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", sink.handle)
    runner = web.AppRunner(
        app, access_log=None, max_field_size=65_536, max_line_size=65_536, shutdown_timeout=0.1
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sink.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield sink
    await runner.cleanup()


@pytest.fixture
def bench(kafka_broker: str, http_sink: HttpSink, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(kafka_broker, http_sink, tmp_path)
    bench.create(bench.letters_topic)
    yield bench
    bench.flush()
