"""A gateway on a port of its own, and a reader of its streams."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client import REGISTRY

from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.runtime.server import Server
from sensor_shared.testing.parts import Lines

from .conftest import BASE_MS, Issuer, until

LIVE = "/api/v1/live"
BUFFER = 64 * 1024
"""Of a socket; the default ones hold megabytes for a client that does not read."""
QUICK = {"poll_seconds": 0.02, "heartbeat_seconds": 0.1, "session_seconds": 0.05}


@dataclass
class Event:
    name: str = ""
    data: Any = None
    id: str = ""


@dataclass
class Reader:
    """Reads a stream as an EventSource does, by the standard's rules."""

    lines: AsyncIterator[str]
    comments: int = 0
    retry: int = 0
    last_id: str = ""
    seen: list[Event] = field(default_factory=list)

    async def next(self, name: str = "reading", seconds: float = 10.0) -> Any:
        """The data of the next event of that name."""
        async with asyncio.timeout(seconds):
            while True:
                event = await self._event()
                self.seen.append(event)
                if event.name == name:
                    return event.data

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10.0):
            while not condition():
                self.seen.append(await self._event())

    async def devices(self, count: int) -> dict[str, float]:
        """The temperatures of so many devices, by their ids."""
        found: dict[str, float] = {}
        while len(found) < count:
            reading = await self.next()
            found[reading["device_id"]] = reading["temperature"]
        return found

    async def _event(self) -> Event:
        event = Event()
        async for line in self.lines:
            if not line:
                return event
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "":
                    self.comments += 1
                case "event":
                    event.name = value
                case "data":
                    event.data = json.loads(value)
                case "id":
                    event.id = self.last_id = value
                case "retry":
                    self.retry = int(value)
        raise EOFError("the stream has ended")


@dataclass
class Live:
    http: httpx.AsyncClient
    server: Server
    serving: asyncio.Task[None]

    @asynccontextmanager
    async def follow(
        self, token: str | None = None, path: str = LIVE, **query: Any
    ) -> AsyncIterator[Reader]:
        headers = {"Last-Event-ID": query.pop("resume")} if "resume" in query else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = self.http.stream("GET", path, params=query, headers=headers)
        async with request as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            yield Reader(answer.aiter_lines())


Serve = Callable[..., Any]


@pytest.fixture
def serve(lines: Lines, issuer: Issuer) -> Serve:
    """A gateway on a port of its own, with other settings for its streams."""

    @asynccontextmanager
    async def serve(**section: Any) -> AsyncIterator[Live]:
        settings = GatewaySettings.model_validate(
            {
                **lines.sections,
                "jwks": {"url": issuer.url},
                "gateway": {"probe_seconds": 0.2},
                "live": {**QUICK, **section},
            }
        )
        gateway = Gateway(settings, now_ms=lambda: BASE_MS + 60_000)
        await gateway.start()
        config = uvicorn.Config(
            gateway.handle, interface="asgi3", lifespan="off", log_config=None, access_log=False
        )
        server = Server(config, gateway)
        # As under `make run`: the signals are the test runner's.
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            serving = asyncio.create_task(server.serve([listening]))
            await until(lambda: server.started and gateway.ready())
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            small = httpx.AsyncHTTPTransport(
                socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)]
            )
            async with httpx.AsyncClient(base_url=url, timeout=10, transport=small) as http:
                yield Live(http, server, serving)
            server.should_exit = True
            await serving
        await gateway.stop()

    return serve


def streams() -> float:
    return REGISTRY.get_sample_value("sensor_gateway_live_streams") or 0.0
