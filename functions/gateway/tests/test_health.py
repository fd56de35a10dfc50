"""What health says while parts come and go, the alert service among them."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from sensor_gateway.app import Gateway
from sensor_local import ports
from sensor_local.alert_service import alert_service
from sensor_shared.testing.parts import Lines

from .conftest import until

pytestmark = pytest.mark.integration
TOKEN = "a service token of the tests"


@pytest.fixture
def alert_section() -> dict[str, Any]:
    port = ports.choose({"TWINUP_PORTS": "auto"})["alerts_grpc"]
    return {"target": f"127.0.0.1:{port}", "token": TOKEN}


async def test_health_tells_each_parts_state(
    gateway: Gateway,
    anonymous: httpx.AsyncClient,
    lines: Lines,
    alert_section: dict[str, Any],
    tmp_path: Path,
) -> None:
    async def health() -> tuple[int, str, dict[str, str]]:
        answer = await anonymous.get("/api/v1/health")
        return answer.status_code, answer.json()["status"], answer.json()["parts"]

    parts = gateway._parts
    await until(lambda: parts.redis and parts.clickhouse)
    up = {"redis": "up", "clickhouse": "up", "auth_keys": "up", "alerts": "up"}
    assert await health() == (200, "degraded", {**up, "alerts": "down"})
    assert gateway.ready()
    sections, port = lines.sections, int(alert_section["target"].rpartition(":")[2])
    with ExitStack() as stack:
        # In a thread: the lines that lead to its parts are served by this loop.
        started = alert_service(sections, tmp_path, grpc_port=port, token=TOKEN)
        await asyncio.to_thread(stack.enter_context, started)
        await until(lambda: parts.complete)
        assert not gateway.troubles()
        assert await health() == (200, "ok", up)
        await lines.redis.cut()
        await until(lambda: not parts.redis)
        assert "Redis does not answer" in gateway.troubles()
        status, said, told = await health()
        assert (status, said, told["redis"]) == (200, "degraded", "down")
        await lines.clickhouse.cut()
        await until(lambda: not parts.clickhouse and not parts.alerts)
        everything = {**up, "redis": "down", "clickhouse": "down", "alerts": "down"}
        assert await health() == (503, "unavailable", everything)
        assert not gateway.ready()
        await lines.redis.mend()
        await lines.clickhouse.mend()
        await until(lambda: parts.complete)
        assert await health() == (200, "ok", up)
    await until(lambda: not parts.alerts)
    assert await health() == (200, "degraded", {**up, "alerts": "down"})
