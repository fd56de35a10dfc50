"""REST services called in process, and the real Redis with a database per test worker."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Final

import httpx
import uvicorn
from redis.asyncio import Redis

from sensor_shared.contracts.access import Action
from sensor_shared.runtime.connection import limited
from sensor_shared.runtime.function import Function
from sensor_shared.runtime.server import Server
from sensor_shared.testing.examples import example

UNLIMITED: Final = {
    f"{bucket}_{part}": 1_000_000
    for bucket, rate in (
        ("user", "per_second"),
        ("export", "per_minute"),
        ("address", "per_second"),
        ("login", "per_minute"),
        ("refresh", "per_minute"),
    )
    for part in ("burst", rate)
}
"""Section LIMITS of services that no request is one too many of."""


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


def database_of(worker: str) -> int:
    """Returns the number of a test worker's Redis database.

    Args:
        worker: pytest-xdist's `worker_id`, "master" without it.
    """
    return 1 + int(worker.removeprefix("gw") if worker != "master" else 0) % 15


async def empty_database(host: str, port: int, worker: str) -> int:
    """Empties the Redis database of a test worker and returns its number.

    Args:
        host: of Redis.
        port: of Redis.
        worker: as `database_of` has it.
    """
    number = database_of(worker)
    async with Redis(host=host, port=port, db=number) as redis:
        await redis.flushdb()
    return number


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of an OpenAPI document, with the least that a valid call of it takes.

    Attributes:
        method: in capitals.
        path: with values for its placeholders.
        actions: the scopes that it needs; empty: open to everybody.
        schemes: names of the security schemes, each of which is enough.
        template: the path as the document has it.
        query: its required parameters.
        body: its JSON body, None when it takes none.
        statuses: those that the document tells.
    """

    method: str
    path: str
    actions: tuple[Action, ...]
    schemes: tuple[str, ...] = ()
    template: str = ""
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    statuses: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


def operations(document: dict[str, Any], **parameters: str) -> list[Operation]:
    """Returns the operations of an OpenAPI document.

    Args:
        document: whose operations each say `security`, be it empty.
        parameters: values for the path's placeholders, before the document's examples.
    """
    return [
        _operation(document, method, path, operation, parameters)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _operation(
    document: dict[str, Any],
    method: str,
    path: str,
    operation: dict[str, Any],
    given: dict[str, str],
) -> Operation:
    values: dict[str, dict[str, Any]] = {"path": {}, "query": {}}
    for parameter in operation.get("parameters", []):
        name, place = parameter["name"], parameter["in"]
        if parameter.get("required") and place in values:
            known = place == "path" and name in given
            values[place][name] = given[name] if known else _value(parameter, document)
    content = operation.get("requestBody", {}).get("content", {})
    form = content.get("application/json")
    scopes = [
        scope
        for requirement in operation["security"]
        for asked in requirement.values()
        for scope in asked
    ]
    return Operation(
        method.upper(),
        path.format(**values["path"]),
        tuple(Action(scope) for scope in dict.fromkeys(scopes)),
        tuple(scheme for requirement in operation["security"] for scheme in requirement),
        path,
        values["query"],
        None if form is None else _value(form, document),
        frozenset(int(status) for status in operation["responses"]),
    )


def _value(described: dict[str, Any], document: dict[str, Any]) -> Any:
    """Returns the example of a parameter or of a body, or one that its schema allows."""
    if "example" in described:
        return described["example"]
    for one in described.get("examples", {}).values():
        return one["value"]
    return example(described["schema"], document)


@contextmanager
def served(function: Function) -> Iterator[str]:
    """Serves a function on a port of its own, in a thread with an event loop, and yields its URL.

    Connections have the limits that they have in production.

    Args:
        function: made already: FastAPI's and pydantic's making is not safe beside threads.
    """
    server = Server(
        uvicorn.Config(
            function.handle,
            interface="asgi3",
            http=limited(function.server),
            ws="none",
            lifespan="off",
            log_config=None,
        ),
        function,
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # asyncio does it only where it has made the socket; an answer would wait 40 ms for an ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = Thread(target=lambda: asyncio.run(_serve(function, server, listening)))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


async def _serve(function: Function, server: Server, listening: socket.socket) -> None:
    await function.start()
    try:
        await server.serve([listening])
    finally:
        await function.stop()
