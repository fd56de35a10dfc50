"""A server of its own, started as a process the way `make run` starts it."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

import clickhouse_connect
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client

USER, PASSWORD = "sensor", "correct horse"
PATIENCE = 60.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        return self.headers.get("x-clickhouse-exception-code")


@dataclass
class ServerProcess:
    """A running server and the plainest of HTTP clients for it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    auth: dict[str, str] = field(
        default_factory=lambda: {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}
    )

    def send(
        self,
        body: bytes = b"",
        *,
        method: str = "POST",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        auth: bool = True,
        arguments: Mapping[str, str] | None = None,
        **more: str,
    ) -> Reply:
        arguments = {**(arguments or {}), **more}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            url = f"{path}?{urlencode(arguments)}" if arguments else path
            connection.request(
                method, url, body, {**(self.auth if auth else {}), **(headers or {})}
            )
            response = connection.getresponse()
            lines = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, lines, response.read())

    def sql(self, sql: str, **arguments: str) -> str:
        reply = self.send(sql.encode(), arguments=arguments)
        assert reply.status == 200, reply.body
        return reply.body.decode()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"ended with {self.process.returncode}"
            with contextlib.suppress(OSError):
                if self.send(method="GET", path="/ping", auth=False).body == b"Ok.\n":
                    return
            time.sleep(0.05)
        pytest.fail("the server is not ready in time")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def launch(
    folder: Path,
    port: int,
    *options: str,
    password: str | None = PASSWORD,
    log: IO[bytes] | int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TWINUP_")}
    if password is not None:
        environ["TWINUP_CLICKHOUSE_PASSWORD"] = password
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "sensor_local.clickhouse"),
            *("--data", str(folder), "--host", "127.0.0.1"),
            *("--port", str(port), "--user", USER, *options),
        ],
        env=environ,
        stderr=log,
    )


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers on folders, and kills those that are left at the end."""
    started: list[ServerProcess] = []

    def start(folder: Path, *options: str) -> ServerProcess:
        port = free_port()
        # A pipe that nobody reads is full some day, and then the server stands still.
        with (folder.parent / f"{folder.name}.{port}.log").open("wb") as log:
            process = launch(folder, port, *options, log=log)
        server = ServerProcess(folder, port, process)
        started.append(server)
        server.wait_ready()
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def server(
    start_server: Callable[..., ServerProcess], tmp_path_factory: pytest.TempPathFactory
) -> ServerProcess:
    return start_server(tmp_path_factory.mktemp("clickhouse"))


@pytest.fixture
def database(server: ServerProcess) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    server.sql(f"CREATE DATABASE {name}")
    yield name
    server.sql(f"DROP DATABASE {name}")


@pytest.fixture
def client(server: ServerProcess, database: str) -> Iterator[Client]:
    client = clickhouse_connect.get_client(
        host="127.0.0.1",
        port=server.port,
        username=USER,
        password=PASSWORD,
        database=database,
        dedicated_pool=True,
    )
    yield client
    client.close()


@pytest.fixture
async def async_client(server: ServerProcess, database: str) -> AsyncIterator[AsyncClient]:
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=server.port, username=USER, password=PASSWORD, database=database
    )
    yield client
    await client.close()
