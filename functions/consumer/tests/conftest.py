"""The consumer on the real ClickHouse, Redis, Kafka and a real gRPC server, called in process."""

import asyncio
import io
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pyarrow as pa
import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from redis.asyncio import Redis

from sensor_consumer.app import Consumer
from sensor_consumer.settings import ConsumerSettings
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.adapters.redis import connect as connect_redis
from sensor_shared.adapters.rules_file import RulesFile
from sensor_shared.contracts.events import (
    ARROW_STREAM,
    JSON,
    READINGS_V1,
    SENSOR_ALERTS,
    new_id,
    rfc3339_ms,
)
from sensor_shared.contracts.readings import SCHEMA
from sensor_shared.testing.parts import Lines
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

TOKEN = "token-of-this-test"
RULES = Path(__file__).parents[3] / "configs" / "alert-rules.yaml"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def reading(device_id: str, timestamp: int | None = None, **changes: Any) -> dict[str, Any]:
    """Returns a valid reading as JSON has it."""
    return {
        "device_id": device_id,
        "timestamp": now_ms() if timestamp is None else timestamp,
        "temperature": 20.125,
        "humidity": 55.04,
        "pressure": 1010.61,
        "location": {"latitude": 40.106052, "longitude": 27.533442, "region": "west"},
        "status": "active",
    } | changes


def batch_of(readings: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Returns readings as columns."""
    rows = [{**row, **row.get("location", {})} for row in readings]
    return pa.RecordBatch.from_pylist(
        [{name: row.get(name) for name in SCHEMA.names} for row in rows], SCHEMA
    )


def arrow(batch: pa.RecordBatch) -> bytes:
    """Returns columns as an Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


async def until(
    condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 30.0
) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        await asyncio.sleep(0.02)


@pytest.fixture
def device() -> str:
    """A device of this test alone."""
    return f"test-{uuid.uuid4().hex}"


@dataclass
class AlertServer(alert_pb2_grpc.AlertServiceServicer):
    """A real gRPC server that takes what is reported to it."""

    port: int = 0
    accepts: bool = True
    requests: list[alert_pb2.AlertRequest] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    _server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        alert_pb2_grpc.add_AlertServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def SendAlert(  # noqa: N802
        self, request: alert_pb2.AlertRequest, context: Any
    ) -> alert_pb2.AlertResponse:
        self.requests.append(request)
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        return alert_pb2.AlertResponse(success=self.accepts, alert_id=request.alert_id)

    async def GetAlertHistory(  # noqa: N802
        self, _request: alert_pb2.AlertHistoryRequest, _context: Any
    ) -> alert_pb2.AlertHistoryResponse:
        raise AssertionError("the consumer does not ask for the history")

    async def HealthCheck(  # noqa: N802
        self, _request: alert_pb2.HealthCheckRequest, _context: Any
    ) -> alert_pb2.HealthCheckResponse:
        raise AssertionError("the consumer does not ask for health")


@pytest.fixture
async def alert_server() -> AsyncIterator[AlertServer]:
    server = AlertServer()  # type: ignore[abstract]  # the consumer calls nothing else
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def redis(redis_server: Any, lines: Lines) -> AsyncIterator[Redis]:
    """Straight to this test's Redis database, whatever becomes of the line."""
    db = lines.sections["redis"]["db"]
    client = connect_redis(RedisSettings(host=redis_server.host, port=redis_server.port, db=db))
    yield client
    await client.aclose()


@pytest.fixture
def alerts_topic(kafka_broker: str) -> str:
    """Makes sure that the topic is there; returns the broker's address."""
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    created = admin.create_topics([NewTopic(SENSOR_ALERTS, 1)])[SENSOR_ALERTS]
    error = created.exception(30)
    if error is not None and "TOPIC_ALREADY_EXISTS" not in str(error):
        raise error
    return kafka_broker


def published(brokers: str, key: str, *, wanted: int, seconds: float = 20.0) -> list[Any]:
    """Returns the records of topic sensor-alerts with this key, once so many are there."""
    consumer = KafkaConsumer({"bootstrap.servers": brokers, "group.id": "none"})
    consumer.assign([TopicPartition(SENSOR_ALERTS, 0, 0)])
    found: list[Any] = []
    deadline = time.monotonic() + seconds
    try:
        while len(found) < wanted and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None and message.key() == key.encode():
                found.append(message)
    finally:
        consumer.close()
    return found


@dataclass
class Deployed:
    """The running consumer as a KafkaSource sees it."""

    function: Consumer
    http: httpx.AsyncClient

    async def post(
        self,
        body: bytes,
        *,
        content_type: str | None = JSON,
        kind: str = READINGS_V1,
        event_id: str | None = None,
        source: str = "/tests",
        replayed: bool = False,
        sent_ms: int | None = None,
    ) -> httpx.Response:
        headers = {
            "ce-specversion": "1.0",
            "ce-id": event_id or new_id(),
            "ce-source": source,
            "ce-type": kind,
            "ce-time": rfc3339_ms(now_ms() if sent_ms is None else sent_ms),
        }
        if replayed:
            headers["ce-replayed"] = "true"
        if content_type is not None:
            headers["content-type"] = content_type
        return await self.http.post("/", content=body, headers=headers)

    async def send(self, data: Any, **attributes: Any) -> httpx.Response:
        """Posts a batch as Arrow, anything else as JSON."""
        if isinstance(data, pa.RecordBatch):
            return await self.post(arrow(data), content_type=ARROW_STREAM, **attributes)
        return await self.post(json.dumps(data).encode(), **attributes)

    async def metric(self, line: str) -> float:
        """Returns the value of a metric's line, 0 when it is not there."""
        text = (await self.http.get("/metrics")).text
        values = [row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(line)]
        return float(values[0]) if values else 0.0


@asynccontextmanager
async def deployed(settings: ConsumerSettings) -> AsyncIterator[Deployed]:
    """Runs the consumer."""
    function = Consumer(settings, RulesFile(RULES))
    await function.start()
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(function.handle),
            base_url="http://consumer.example.com",
            timeout=60,
        ) as http:
            yield Deployed(function, http)
    finally:
        await function.stop()


@pytest.fixture
async def settings(lines: Lines, alert_server: AlertServer, redis: Redis) -> ConsumerSettings:
    """Leads to the real parts; nobody listens where Kafka should be.

    Redis remembers events since long ago, as it does where the system is not new.
    """
    await redis.set("{consumer}:since", 0)
    return ConsumerSettings.model_validate(
        {
            **lines.sections,
            "alerts": {"target": f"127.0.0.1:{alert_server.port}", "token": TOKEN},
            "kafka": {"brokers": "127.0.0.1:9", "delivery_timeout": 0.5},
            "latest": {"timeout": 2, "pause": 0.05},
            "lag": {"enabled": False},
            "store": {"rejects_interval": 0},
        }
    )


@pytest.fixture
async def consumer(settings: ConsumerSettings) -> AsyncIterator[Deployed]:
    async with deployed(settings) as running:
        yield running


@pytest.fixture
def latest(redis: Redis) -> LatestReadings:
    """Reads what the consumer has made visible."""
    return LatestReadings(redis)
