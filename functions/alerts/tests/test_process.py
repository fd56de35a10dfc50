"""The alert service as the process that `make run` starts."""

import asyncio
import json
import os
import signal
import socket
import sys

import grpc
import pytest

from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

from .alert_world import DEADLINE, ROOT, TOKEN, World, credentials, device, request

pytestmark = pytest.mark.integration


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def status(port: int, path: str) -> int:
    """Returns the status of a GET, 0 while nobody listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_it_serves_both_ways_and_ends_cleanly_when_told_to(world: World) -> None:
    port, grpc_port = free_port(), free_port()
    settings = world.settings
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sensor_shared.runtime", str(ROOT / "functions" / "alerts")),
        env={
            **{name: text for name, text in os.environ.items() if not name.startswith("TWINUP_")},
            "TWINUP_CONFIG_DIR": str(ROOT / "configs"),
            "TWINUP_SERVER_PORT": str(port),
            "TWINUP_GRPC_PORT": str(grpc_port),
            "TWINUP_GRPC_TOKEN": TOKEN,
            "TWINUP_CLICKHOUSE_PORT": str(settings.clickhouse.port),
            "TWINUP_CLICKHOUSE_USER": settings.clickhouse.user,
            "TWINUP_CLICKHOUSE_PASSWORD": settings.clickhouse.password.get_secret_value(),
            "TWINUP_CLICKHOUSE_DATABASE": settings.clickhouse.database,
            "TWINUP_REDIS_PORT": str(settings.redis.port),
            "TWINUP_MQTT_PORT": str(settings.mqtt.port),
            "TWINUP_SMTP_PORT": str(settings.smtp.port),
            "TWINUP_SMTP_RECIPIENTS": world.mails.recipient,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(2 * DEADLINE):
            while await status(port, "/health/readiness") != 200:
                assert process.returncode is None
                await asyncio.sleep(0.05)
        sent = request(device())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            stub = alert_pb2_grpc.AlertServiceStub(channel)
            answer = await stub.SendAlert(sent, metadata=credentials())
            assert answer.alert_id == sent.alert_id
            healthy = await stub.HealthCheck(alert_pb2.HealthCheckRequest(), metadata=credentials())
            assert healthy.healthy
        assert await status(port, "/metrics") == 200
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 2 * DEADLINE)
    assert process.returncode == 0, log.decode()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line for line in lines if line["level"] in ("warning", "error")] == []
    assert TOKEN not in log.decode()
    assert await world.rows("SELECT alert_id, email_sent FROM alerts FINAL") == [
        (sent.alert_id, True)
    ], "the mail that waited went out before the end"
