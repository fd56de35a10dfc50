"""From a breach sent to the alert service to a browser: what happens to an alert is pushed."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sensor_alerts.app import AlertsFunction
from sensor_alerts.settings import AlertServiceSettings
from sensor_auth.app import Auth
from sensor_auth.settings import AuthSettings
from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.adapters.rules_file import RulesFile
from sensor_shared.testing import rest
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

from .login import log_in

pytestmark = pytest.mark.integration
RULES = Path(__file__).parents[2] / "configs" / "alert-rules.yaml"
PASSWORD = uuid.uuid4().hex
TOKEN = uuid.uuid4().hex
CREDENTIALS = (("authorization", f"Bearer {TOKEN}"),)
LIVE = "/api/v1/alerts/live"


@pytest.fixture
def sections(redis_server: Any, clickhouse_server: Any, worker_id: str) -> dict[str, Any]:
    database = asyncio.run(rest.empty_database(redis_server.host, redis_server.port, worker_id))
    return {
        "redis": {"port": redis_server.port, "db": database},
        "clickhouse": {
            "port": clickhouse_server.port,
            "user": clickhouse_server.user,
            "password": clickhouse_server.password,
            "database": clickhouse_server.database(),
        },
    }


@pytest.fixture
def auth(sections: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    private = Ed25519PrivateKey.generate()
    key = tmp_path / "signing-key.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = AuthSettings.model_validate(
        {
            **sections,
            "auth": {"signing_key_file": key, "admin_password": PASSWORD},
            "passwords": {"time_cost": 1, "memory_kib": 64, "parallelism": 1},
        }
    )
    with rest.served(Auth(settings, shown_on=io.StringIO())) as url:
        yield url


@pytest.fixture
def gateway(sections: dict[str, Any], auth: str) -> Iterator[str]:
    jwks = {"url": f"{auth}/.well-known/jwks.json"}
    with rest.served(Gateway(GatewaySettings.model_validate({**sections, "jwks": jwks}))) as url:
        yield url


@pytest.fixture
async def alerts(sections: dict[str, Any], changes_topic: str) -> AsyncIterator[Any]:
    """A caller of the alert service, which decides by the rules as they are delivered."""
    settings = AlertServiceSettings.model_validate(
        {**sections, "grpc": {"token": TOKEN, "port": 0}, "kafka": {"brokers": changes_topic}}
    )
    function = AlertsFunction(settings, RulesFile(RULES))
    await function.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{function.grpc_port}") as channel:
        await _until(function.ready)
        yield alert_pb2_grpc.AlertServiceStub(channel)
    await function.stop()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _ready(url: str) -> None:
    async with asyncio.timeout(30), httpx.AsyncClient() as http:
        while (await http.get(url)).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _next(lines: AsyncIterator[str], name: str) -> Any:
    """The data of the next event of that name."""
    found = ""
    async with asyncio.timeout(20):
        async for line in lines:
            field, _, value = line.partition(": ")
            if field == "event":
                found = value
            elif field == "data" and found == name:
                return json.loads(value)
    raise EOFError("the stream has ended")


async def test_a_breach_and_its_acknowledgement_arrive_at_who_follows(
    auth: str, gateway: str, alerts: Any
) -> None:
    device = f"industrial_sensor_{uuid.uuid4().hex[:12]}"
    await _ready(f"{auth}/health")
    await _ready(f"{gateway}/api/v1/health")
    token = (await asyncio.to_thread(log_in, auth, PASSWORD))["access_token"]
    async with httpx.AsyncClient(
        base_url=gateway, headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as http:
        ticket = (await http.post(f"{LIVE}/tickets")).json()["ticket"]
        del http.headers["Authorization"]
        query = {"ticket": ticket, "device_id": device, "severity": "LOW"}
        async with http.stream("GET", LIVE, params=query) as answer:
            assert answer.status_code == 200
            lines = answer.aiter_lines()
            assert await _next(lines, "reset") == {"reason": "begin"}
            now: Any = datetime.now(UTC)
            breach = alert_pb2.AlertRequest(
                alert_id=uuid.uuid4().hex,
                device_id=device,
                alert_type=alert_pb2.ALERT_TYPE_TEMPERATURE_HIGH,
                message="too hot",
                temperature=96.0,
                threshold=90.0,
                timestamp=now,
                metadata={"rule": "temperature-high", "metric": "temperature"},
            )
            sent = await alerts.SendAlert(breach, metadata=CREDENTIALS)
            raised = await _next(lines, "alert")
            assert raised["kind"] == "raised"
            assert raised["alert"]["alert_id"] == sent.alert_id
            assert raised["alert"]["device_id"] == device
            change = alert_pb2.ChangeAlertRequest(
                alert_id=sent.alert_id, user="ann", note="on my way"
            )
            await alerts.AcknowledgeAlert(change, metadata=CREDENTIALS)
            known = await _next(lines, "alert")
    assert (known["kind"], known["by"], known["note"]) == ("acknowledged", "ann", "on my way")
    assert known["alert"]["acknowledged_by"] == "ann"
    assert known["alert"]["version"] == raised["alert"]["version"] + 1
