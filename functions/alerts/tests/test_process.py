"""The alert service as the process that `make run` starts."""

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass

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


@dataclass
class Running:
    """A process of the alert service."""

    process: asyncio.subprocess.Process
    port: int
    grpc_port: int

    async def ready(self) -> None:
        async with asyncio.timeout(2 * DEADLINE):
            while await status(self.port, "/health/readiness") != 200:
                assert self.process.returncode is None
                await asyncio.sleep(0.05)

    async def stop(self) -> str:
        """Ends it and returns its log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(self.process.communicate(), 2 * DEADLINE)
        return log.decode()


async def started(world: World) -> Running:
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
            "TWINUP_REDIS_DB": str(settings.redis.db),
            "TWINUP_KAFKA_BROKERS": settings.kafka.brokers,
            "TWINUP_SMTP_PORT": str(settings.smtp.port),
            "TWINUP_SMTP_RECIPIENTS": world.mails.recipient,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    return Running(process, port, grpc_port)


async def test_it_serves_both_ways_and_ends_cleanly_when_told_to(world: World) -> None:
    running = await started(world)
    process, port, grpc_port = running.process, running.port, running.grpc_port
    try:
        await running.ready()
        sent = request(device())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            stub = alert_pb2_grpc.AlertServiceStub(channel)
            answer = await stub.SendAlert(sent, metadata=credentials())
            assert answer.alert_id == sent.alert_id
            healthy = await stub.HealthCheck(alert_pb2.HealthCheckRequest(), metadata=credentials())
            assert healthy.healthy
        assert await status(port, "/metrics") == 200
    finally:
        log = await running.stop()
    assert process.returncode == 0, log
    lines = [json.loads(line) for line in log.splitlines()]
    # Of a broker that has just started the Kafka client says much.
    ours = [line for line in lines if line.get("logger") != "kafka"]
    assert [line for line in ours if line["level"] in ("warning", "error")] == []
    assert TOKEN not in log
    assert await world.rows("SELECT alert_id, email_sent FROM alerts FINAL") == [
        (sent.alert_id, True)
    ], "the mail that waited went out before the end"


async def test_processes_that_get_the_same_breaches_at_once_make_one_alert_and_tell_of_it_once(
    world: World,
) -> None:
    """Three processes, each sent all of the breaches of ten devices at the same time."""
    running = [await started(world) for _ in range(3)]
    who = [device() for _ in range(10)]
    sent = [request(one, after=second) for one in who for second in range(4)]
    try:
        await asyncio.gather(*(one.ready() for one in running))
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{one.grpc_port}") for one in running]
        stubs = [alert_pb2_grpc.AlertServiceStub(channel) for channel in channels]
        answers = await asyncio.gather(
            *(stub.SendAlert(one, metadata=credentials()) for stub in stubs for one in sent)
        )
        for channel in channels:
            await channel.close(grace=None)
    finally:
        logs = [await one.stop() for one in running]
    assert not any('"level": "error"' in log for log in logs)
    by_device: dict[str, set[str]] = {}
    for one, answer in zip(sent * 3, answers, strict=True):
        by_device.setdefault(one.device_id, set()).add(answer.alert_id)
    assert {len(ids) for ids in by_device.values()} == {1}
    assert await world.rows("SELECT count(), uniqExact(device_id) FROM alerts FINAL") == [(10, 10)]
    raised = "SELECT count() FROM alert_changes FINAL WHERE kind = 'raised'"
    assert await world.rows(raised) == [(10,)]
    mails = [str(mail) for mail in await world.mails.all()]
    assert [sum(one in mail for mail in mails) for one in who] == [1] * 10
