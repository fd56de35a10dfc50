"""The analytics function on the real Redis, MQTT broker and ClickHouse."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
import httpx
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from sensor_analytics.app import Analytics
from sensor_analytics.settings import AnalyticsSettings
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.events import ARROW_STREAM, JSON, READINGS_V1, new_id
from sensor_shared.contracts.readings import METRICS, SCHEMA
from sensor_shared.testing.line import Line

Row = tuple[str, int, float | None, float | None, float | None]


def batch_of(rows: Sequence[Row]) -> pa.RecordBatch:
    """Returns valid readings: device, epoch ms, temperature, humidity, pressure."""
    empty: list[object] = [None] * len(rows)
    columns = [list(column) for column in zip(*rows, strict=True)]
    by_name: dict[str, list[Any]] = dict(
        zip(("device_id", "timestamp", *METRICS), columns, strict=True)
    )
    by_name["status"] = ["active"] * len(rows)
    return pa.RecordBatch.from_pydict(
        {name: by_name.get(name, empty) for name in SCHEMA.names}, SCHEMA
    )


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class Subscriber:
    """An MQTT client of its own that keeps what it hears."""

    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def on(self, topic: str) -> list[dict[str, Any]]:
        return [payload for heard, payload in self.heard if heard == topic]


@asynccontextmanager
async def subscribed(broker: Any, *topics: str) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber()
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for topic in topics:
            await client.subscribe(topic, qos=1)

        async def listen() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                subscriber.heard.append((str(message.topic), json.loads(message.payload)))

        task = asyncio.create_task(listen())
        yield subscriber
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def prefix() -> str:
    """Begin of the keys of this test, and of its devices' ids."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    client = connect(RedisSettings(host=redis_server.host, port=redis_server.port, timeout=10))
    yield client
    await client.aclose()


@dataclass
class Deployed:
    """The function, called by HTTP, with lines to its parts that a test can cut."""

    function: Analytics
    http: httpx.AsyncClient
    redis: Line
    mqtt: Line

    async def send(
        self,
        data: pa.RecordBatch | Any,
        *,
        kind: str = READINGS_V1,
        event_id: str | None = None,
        **attributes: str,
    ) -> httpx.Response:
        """Posts one CloudEvent with an Arrow batch, or anything else as JSON."""
        if isinstance(data, pa.RecordBatch):
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, data.schema) as writer:
                writer.write_batch(data)
            body, content_type = sink.getvalue(), ARROW_STREAM
        else:
            body, content_type = json.dumps(data).encode(), JSON
        headers = {
            "ce-specversion": "1.0",
            "ce-id": event_id or new_id(),
            "ce-source": "/tests",
            "ce-type": kind,
            "content-type": content_type,
        } | {f"ce-{name}": value for name, value in attributes.items()}
        return await self.http.post("/", content=body, headers=headers)

    async def metric(self, line: str) -> float:
        """Returns the value of a metric's line, 0 when it is not there."""
        text = (await self.http.get("/metrics")).text
        values = [row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(line)]
        return float(values[0]) if values else 0.0


@pytest.fixture
def deploy(
    redis_server: Any, mqtt_broker: Any, clickhouse_server: Any, prefix: str
) -> Callable[..., Any]:
    """Runs the function with settings of section ANALYTICS."""

    @asynccontextmanager
    async def deployed(
        *, database: str = "none", queue: int = 1_000, **analytics: Any
    ) -> AsyncIterator[Deployed]:
        redis = Line(redis_server.host, redis_server.port)
        mqtt = Line(mqtt_broker.host, mqtt_broker.port)
        await redis.mend()
        await mqtt.mend()
        settings = AnalyticsSettings.model_validate(
            {
                "analytics": {"prefix": prefix, **analytics},
                "redis": {"port": redis.port},
                "mqtt": {"port": mqtt.port, "queue": queue},
                "clickhouse": {
                    "host": clickhouse_server.host,
                    "port": clickhouse_server.port,
                    "user": clickhouse_server.user,
                    "password": clickhouse_server.password,
                    "database": database,
                },
            }
        )
        function = Analytics(settings)
        await function.start()
        transport = httpx.ASGITransport(function.handle)
        try:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://analytics.example.com"
            ) as http:
                yield Deployed(function, http, redis, mqtt)
        finally:
            await function.stop()
            await redis.cut()
            await mqtt.cut()

    return deployed
