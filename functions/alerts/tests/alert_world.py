"""The alert service in this process, on the real ClickHouse, Redis and mail sink."""

import asyncio
import json
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from pydantic import SecretStr

from sensor_alerts.app import AlertsFunction
from sensor_alerts.domain.alert import breach
from sensor_alerts.notify.settings import AlertMqttSettings, NotifySettings, SmtpSettings
from sensor_alerts.settings import (
    AlertServiceSettings,
    GrpcSettings,
    PaceSettings,
)
from sensor_local.testing import Address, ClickHouseServer, SmtpSink
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.adapters.rules_file import RulesFile
from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.contracts.alerts import AlertRequested, Place
from sensor_shared.contracts.events import PING
from sensor_shared.contracts.rules import AlertType, load_rules
from sensor_shared.runtime.settings import ServerSettings
from sensor_shared.testing.rest import empty_database
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

ROOT = Path(__file__).parents[3]
RULES_FILE = ROOT / "configs" / "alert-rules.yaml"
RULES = load_rules(RULES_FILE)
TOKEN = "a service token of the tests"
DEADLINE = 15.0
_UNLISTED = (
    "SELECT count() FROM "
    "(SELECT alert_id, max(version) AS told FROM alert_changes GROUP BY alert_id) AS c LEFT JOIN "
    "(SELECT alert_id, max(version) AS listed FROM alerts GROUP BY alert_id) AS a "
    "USING (alert_id) WHERE listed < told"
)


async def eventually(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Waits until the condition gives something true, and returns it."""
    async with asyncio.timeout(DEADLINE):
        while not (found := await condition()):  # noqa: ASYNC110  (looks at what others do)
            await asyncio.sleep(0.02)
        return found


@dataclass
class Mails:
    """What the sink has for one test's recipient."""

    url: str
    recipient: str

    async def all(self) -> list[EmailMessage]:
        return await asyncio.to_thread(self._all)

    def _all(self) -> list[EmailMessage]:
        return [
            BytesParser(policy=policy.default).parsebytes(self._get(f"/messages/{mail['id']}"))
            for mail in json.loads(self._get("/messages"))
            if self.recipient in mail["to"]
        ]

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path) as answer:  # noqa: S310  (our own sink)
            content: bytes = answer.read()
            return content


@dataclass
class Service:
    """One running instance and a channel to it."""

    function: AlertsFunction
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        return alert_pb2_grpc.AlertServiceStub(self.channel)

    async def send(self, request: alert_pb2.AlertRequest) -> alert_pb2.AlertResponse:
        answer: alert_pb2.AlertResponse = await self.stub.SendAlert(request, metadata=credentials())
        return answer

    async def history(self, **filters: Any) -> alert_pb2.AlertHistoryResponse:
        request = alert_pb2.AlertHistoryRequest(**filters)
        answer: alert_pb2.AlertHistoryResponse = await self.stub.GetAlertHistory(
            request, metadata=credentials()
        )
        return answer

    async def post(self, headers: dict[str, str], body: bytes) -> int:
        """Posts to the event endpoint and returns the status."""
        answers: list[Any] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            answers.append(message)

        await self.function.handle(scope, receive, send)
        status: int = answers[0]["status"]
        return status

    async def sweep(self) -> None:
        """Posts what the PingSource does."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": uuid.uuid4().hex,
            "ce-source": "/tests",
            "ce-type": PING,
            "content-type": "application/json",
        }
        assert await self.post(headers, b'{"task": "alert-sweep"}') == 202


def credentials(token: str = TOKEN) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@dataclass
class World:
    """One database, one prefix in Redis and one recipient; instances on demand."""

    settings: AlertServiceSettings
    mails: Mails
    prefix: str
    rules: Path = RULES_FILE
    _running: list[Service] = field(default_factory=list)

    async def start(self, prefix: str | None = None, **changes: Any) -> Service:
        """Starts an instance, with some sections of the settings exchanged."""
        settings = self.settings.model_copy(update=changes)
        function = AlertsFunction(settings, RulesFile(self.rules), prefix=prefix or self.prefix)
        await function.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{function.grpc_port}")
        service = Service(function, channel)
        self._running.append(service)
        return service

    async def ready(self, prefix: str | None = None, **changes: Any) -> Service:
        """Starts an instance and waits until it is ready."""
        service = await self.start(prefix, **changes)

        async def is_ready() -> bool:
            return service.function.ready()

        await eventually(is_ready)
        return service

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Queries the database directly, once every change is listed in `alerts`."""
        database = Database(self.settings.clickhouse)

        async def listed() -> bool:
            return await database.rows(_UNLISTED) == [(0,)]

        try:
            await eventually(listed)
            return await database.rows(sql)
        finally:
            await database.close()

    async def stop(self) -> None:
        for service in self._running:
            await service.channel.close(grace=None)
            await service.function.stop()


@pytest.fixture
def clickhouse(clickhouse_server: ClickHouseServer) -> ClickHouseSettings:
    return ClickHouseSettings(
        host=clickhouse_server.host,
        port=clickhouse_server.port,
        user=clickhouse_server.user,
        password=SecretStr(clickhouse_server.password),
        database=clickhouse_server.database(),
    )


@pytest.fixture
async def lone_redis(redis_server: Address, worker_id: str) -> RedisSettings:
    """A database of Redis, emptied, that this worker has for itself."""
    number = await empty_database(redis_server.host, redis_server.port, worker_id)
    return RedisSettings(host=redis_server.host, port=redis_server.port, db=number)


@pytest.fixture
async def world(
    clickhouse: ClickHouseSettings,
    lone_redis: RedisSettings,
    smtp_sink: SmtpSink,
    mqtt_broker: Address,
    changes_topic: str,
) -> AsyncIterator[World]:
    recipient = f"{uuid.uuid4().hex}@example.com"
    settings = AlertServiceSettings(
        grpc=GrpcSettings(token=SecretStr(TOKEN), port=0),
        server=ServerSettings(port=0),
        clickhouse=clickhouse,
        redis=lone_redis,
        kafka=KafkaSettings(brokers=changes_topic),
        pace=PaceSettings(update=0.05),
        mqtt=AlertMqttSettings(host=mqtt_broker.host, port=mqtt_broker.port),
        notify=NotifySettings(take_up=0.5, silences=0.2),
        smtp=SmtpSettings(
            host=smtp_sink.host,
            port=smtp_sink.port,
            security="none",
            sender="alerts@example.com",
            recipients=(recipient,),
            collect=0.05,
            per_minute=10_000,
        ),
    )
    made = World(settings, Mails(smtp_sink.url, recipient), prefix=uuid.uuid4().hex)
    yield made
    await made.stop()


def device() -> str:
    """Returns a device that no other test has."""
    return f"industrial_sensor_{uuid.uuid4().hex[:12]}"


def request(device_id: str, /, *, after: float = 0.0, **fields: Any) -> alert_pb2.AlertRequest:
    """Returns a request as the consumer sends it, measured `after` seconds from a minute ago."""
    measured = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=60 - after)
    values: dict[str, Any] = {
        "alert_id": uuid.uuid4().hex,
        "device_id": device_id,
        "alert_type": alert_pb2.ALERT_TYPE_TEMPERATURE_HIGH,
        "message": f"{device_id}: temperature 96 °C breaks the limit of 90 °C",
        "temperature": 96.0,
        "threshold": 90.0,
        "timestamp": measured,
        "metadata": {"rule": "temperature-high", "metric": "temperature"},
    }
    return alert_pb2.AlertRequest(**values | fields)


NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REQUEST = AlertRequested(
    alert_id="first",
    device_id="industrial_sensor_000007",
    alert_type=AlertType.TEMPERATURE_HIGH,
    timestamp=NOW,
    rule="temperature-high",
    metric="temperature",
    value=96.0,
    threshold=90.0,
    location=Place(40.0, 27.0, "west"),
)


def alert(**changes: Any) -> AlertSnapshot:
    """Returns a new alert of a request with some fields changed."""
    return breach(msgspec.structs.replace(REQUEST, **changes), RULES, NOW)
