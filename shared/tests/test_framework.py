"""A function under functions-framework: start, health, answers and stop, over real HTTP."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

FUNCTION = """
import asyncio, pathlib
from sensor_shared.runtime.events import EventApp
from sensor_shared.runtime.function import handle
from sensor_shared.runtime.settings import ServerSettings
from sensor_shared.telemetry.logs import LoggerSettings

class Example:
    name = "example"
    server = ServerSettings(port={port})
    logger = LoggerSettings()
    def __init__(self):
        self._app = EventApp("example", self._take, max_body_bytes=100)
        self._ready = False
        self._troubles = []
    async def start(self): self._ready = True
    async def stop(self): pathlib.Path({stopped!r}).write_text("stopped")
    def alive(self): return True
    def ready(self): return self._ready
    def troubles(self): return self._troubles
    async def handle(self, scope, receive, send): await self._app(scope, receive, send)
    async def _take(self, event):
        if event.subject == "slow":
            await asyncio.sleep(0.5)
        if event.subject == "troubled":
            self._troubles = ["half is rejected", "no cache"]
        if event.subject == "unready":
            self._ready = False

def make(): return Example()
"""

HEADERS = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t"}


@dataclass
class Served:
    client: httpx.AsyncClient
    process: asyncio.subprocess.Process
    stopped: Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    port, stopped = free_port(), tmp_path / "stopped"
    (tmp_path / "function").mkdir()
    source = FUNCTION.format(port=port, stopped=str(stopped))
    (tmp_path / "function" / "__init__.py").write_text(source)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sensor_shared.runtime", str(tmp_path), env=dict(os.environ)
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            async with asyncio.timeout(30):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await client.get("/health/readiness")).status_code == 200:
                            break
                    await asyncio.sleep(0.05)
            yield Served(client, process, stopped)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_health_follows_the_function(served: Served) -> None:
    assert (await served.client.get("/health/liveness")).status_code == 200
    await served.client.post("/", headers=HEADERS | {"ce-subject": "unready"}, content=b"")
    assert (await served.client.get("/health/readiness")).status_code == 503
    assert (await served.client.get("/health/liveness")).status_code == 200


async def test_a_trouble_is_told_and_traffic_goes_on(served: Served) -> None:
    assert (await served.client.get("/health/readiness")).text == "OK"
    await served.client.post("/", headers=HEADERS | {"ce-subject": "troubled"}, content=b"")
    answer = await served.client.get("/health/readiness")
    assert (answer.status_code, answer.text) == (200, "degraded: half is rejected; no cache")


async def test_events_pass_through_the_framework_with_their_statuses(served: Served) -> None:
    assert (await served.client.post("/", headers=HEADERS, content=b"x")).status_code == 202
    assert (await served.client.post("/", content=b"x")).status_code == 400
    assert (await served.client.post("/", headers=HEADERS, content=b"x" * 101)).status_code == 413
    assert "sensor_function_events_total" in (await served.client.get("/metrics")).text


async def test_sigterm_ends_the_request_under_way_and_then_stops(served: Served) -> None:
    slow = asyncio.create_task(
        served.client.post("/", headers=HEADERS | {"ce-subject": "slow"}, content=b"")
    )
    await asyncio.sleep(0.2)
    served.process.send_signal(signal.SIGTERM)
    assert (await slow).status_code == 202
    assert await served.process.wait() == 0
    assert served.stopped.read_text() == "stopped"
