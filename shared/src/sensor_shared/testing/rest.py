"""REST services called in process, and the real Redis with a database per test worker."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpx
import uvicorn
from redis.asyncio import Redis

from sensor_shared.contracts.access import Action
from sensor_shared.runtime.connection import limited
from sensor_shared.runtime.function import Function


@asynccontextmanager
async def client(
    function: Function, *, address: str = "192.0.2.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """Yields an HTTP client of the function, which must be started.

    Args:
        function: called without a network.
        address: of the client, as the function sees it.
    """
    transport = httpx.ASGITransport(function.handle, client=(address, 50_000))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://service.example.com"
    ) as made:
        yield made


async def empty_database(host: str, port: int, worker: str) -> int:
    """Empties the Redis database of a test worker and returns its number.

    Args:
        host: of Redis.
        port: of Redis.
        worker: pytest-xdist's `worker_id`, "master" without it.
    """
    number = 1 + int(worker.removeprefix("gw") if worker != "master" else 0) % 15
    async with Redis(host=host, port=port, db=number) as redis:
        await redis.flushdb()
    return number


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of an OpenAPI document, with a path that can be called.

    `actions` are the scopes that it needs; empty: open to everybody.
    """

    method: str
    path: str
    actions: tuple[Action, ...]


def operations(document: dict[str, Any], **parameters: str) -> list[Operation]:
    """Returns the operations of an OpenAPI document.

    Args:
        document: whose operations each say `security`, be it empty.
        parameters: values for the path's placeholders.
    """
    return [
        Operation(
            method.upper(),
            path.format(**parameters),
            tuple(
                Action(scope)
                for requirement in operation["security"]
                for scope in requirement.get("bearer", [])
            ),
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


@contextmanager
def served(function: Function) -> Iterator[str]:
    """Serves a function on a port of its own, in a thread with an event loop, and yields its URL.

    Connections have the limits that they have in production.

    Args:
        function: made already: FastAPI's and pydantic's making is not safe beside threads.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            function.handle,
            interface="asgi3",
            http=limited(function.server),
            ws="none",
            lifespan="off",
            log_config=None,
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=lambda: asyncio.run(_serve(function, server, listening)))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


async def _serve(function: Function, server: uvicorn.Server, listening: socket.socket) -> None:
    await function.start()
    try:
        await server.serve([listening])
    finally:
        await function.stop()
