"""Pytest plugin: the real parts as session fixtures, started when first asked for.

One set serves all xdist workers: whoever needs a part first starts it, in a folder that the
controller made and removes. Each part has a supervisor of its own that also watches the
controller, so nothing outlives a test run, however it ends.

Tests isolate themselves by unique topics, databases (`clickhouse_server.database()`), key
prefixes and recipients; `lines` and `database` do it for Redis and ClickHouse. Nothing of the
system is imported before a fixture is used.
"""

# ruff: noqa: PLC0415 - a plugin is imported by every test run, also by those without parts

import asyncio
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog

_FOLDER = pytest.StashKey[Path]()
_FOLDER_INPUT = "sensor_local_folder"
_OWNER_INPUT = "sensor_local_owner"
_WORKER_INPUT = "workerinput"


@dataclass(frozen=True)
class Address:
    """Where a part listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class ClickHouseServer(Address):
    """The embedded ClickHouse server."""

    user: str
    password: str = field(repr=False)

    def database(self) -> str:
        """Makes a fresh database with all migrations applied and returns its name."""
        from pydantic import SecretStr

        from sensor_local.checkout import MIGRATIONS
        from sensor_shared.adapters.clickhouse import ClickHouseSettings
        from sensor_shared.adapters.migrations import migrate, read_migrations

        settings = ClickHouseSettings(
            host=self.host,
            port=self.port,
            user=self.user,
            password=SecretStr(self.password),
            database=f"test_{uuid.uuid4().hex}",
        )
        # In a thread of its own: the test may have an event loop running in this one.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(
                lambda: asyncio.run(migrate(settings, read_migrations(MIGRATIONS)))
            ).result()
        return settings.database


@dataclass(frozen=True)
class SmtpSink(Address):
    """The mail sink; `url` + `/messages` lists what it has, newest first."""

    url: str


def pytest_configure(config: pytest.Config) -> None:
    """Makes the folder of this test run, in the controller alone."""
    # Tests start processes while gRPC runs in this one. Its fork handlers abort such a child now
    # and then, before it becomes the program that it should (grpc/grpc#43055).
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    given = getattr(config, _WORKER_INPUT, None)
    if given is None:
        config.stash[_FOLDER] = Path(tempfile.mkdtemp(prefix="twinup-tests-"))
    else:
        config.stash[_FOLDER] = Path(given[_FOLDER_INPUT])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells an xdist worker which folder and which owner all of them share."""
    node.workerinput[_FOLDER_INPUT] = str(node.config.stash[_FOLDER])
    node.workerinput[_OWNER_INPUT] = os.getpid()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops what the fixtures have started, and removes the folder."""
    folder = config.stash.get(_FOLDER, None)
    if folder is None or hasattr(config, _WORKER_INPUT):
        return
    runs = [path for path in folder.iterdir() if path.is_dir()]
    if runs:
        from sensor_local.background import down
        from sensor_local.folder import RunFolder

        for run in runs:
            down(RunFolder(run), lambda _line: None)
    shutil.rmtree(folder, ignore_errors=True)


_ENVIRONMENT = {
    "TWINUP_PORTS": "auto",
    # By its own account, not by its size, the engine grows 10 MB with each database dropped.
    "TWINUP_ENGINE_MAX_MEMORY": str(64 * 1024**3),
}


def _start(config: pytest.Config, part: str) -> Mapping[str, Any]:
    """Starts a part unless it runs, and returns its endpoints."""
    from sensor_local.background import up
    from sensor_local.folder import RunFolder

    folder = config.stash[_FOLDER]
    owner = getattr(config, _WORKER_INPUT, {}).get(_OWNER_INPUT, os.getpid())
    run = RunFolder(folder / part)
    with (folder / f"{part}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if run.endpoints is None:
            said: list[str] = []
            try:
                up(run, {**os.environ, **_ENVIRONMENT}, said.append, [part], owner=owner)
            except Exception as error:
                error.add_note("\n".join(said))
                raise
        endpoints = run.endpoints
    if endpoints is None:
        raise RuntimeError(f"{part} has stopped")
    return endpoints


def _address(endpoint: str) -> tuple[str, int]:
    parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    return parts.hostname or "", parts.port or 0


@pytest.fixture(autouse=True)
def log_settings() -> Iterator[None]:
    """What a test, or a function that it starts, does to the logs' settings ends with the test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def kafka_broker(pytestconfig: pytest.Config) -> str:
    """Bootstrap address of the real Kafka; it creates no topic by itself."""
    bootstrap: str = _start(pytestconfig, "kafka")["kafka"]
    return bootstrap


@pytest.fixture(scope="session")
def changes_topic(kafka_broker: str) -> str:
    """Where Kafka is; it has the topic of alerts' changes, as it is declared."""
    from sensor_local.topics import create, declared
    from sensor_shared.contracts.events import ALERT_CHANGES

    create(kafka_broker, [topic for topic in declared({}) if topic.name == ALERT_CHANGES])
    return kafka_broker


@pytest.fixture(scope="session")
def clickhouse_server(pytestconfig: pytest.Config) -> ClickHouseServer:
    """The embedded ClickHouse server; `database()` makes a migrated one for a test."""
    endpoints = _start(pytestconfig, "clickhouse")
    headers = endpoints["clickhouse_headers"]
    return ClickHouseServer(
        *_address(endpoints["clickhouse"]),
        user=headers["X-ClickHouse-User"],
        password=headers["X-ClickHouse-Key"],
    )


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Address:
    """The real Redis."""
    return Address(*_address(_start(pytestconfig, "redis")["redis"]))


@pytest.fixture(scope="session")
def mqtt_broker(pytestconfig: pytest.Config) -> Address:
    """The real MQTT broker (3.1.1)."""
    return Address(*_address(_start(pytestconfig, "mqtt")["mqtt"]))


@pytest.fixture(scope="session")
def smtp_sink(pytestconfig: pytest.Config) -> SmtpSink:
    """The mail sink."""
    endpoints = _start(pytestconfig, "mail")
    return SmtpSink(*_address(endpoints["smtp"]), url=endpoints["mail"])


@pytest.fixture
async def lines(
    redis_server: Address, clickhouse_server: ClickHouseServer, worker_id: str
) -> AsyncIterator[Any]:
    """Lines to Redis and ClickHouse that the test can cut: `sensor_shared.testing.parts.Lines`."""
    from sensor_shared.testing import parts

    async with parts.lines(redis_server, clickhouse_server, worker_id) as made:
        yield made


@pytest.fixture
async def database(clickhouse_server: ClickHouseServer, lines: Any) -> AsyncIterator[Any]:
    """Straight to this test's ClickHouse database, whatever becomes of the line."""
    from sensor_shared.adapters.clickhouse import ClickHouseSettings
    from sensor_shared.adapters.database import Database

    section = {**lines.sections["clickhouse"], "port": clickhouse_server.port}
    database = Database(ClickHouseSettings.model_validate(section))
    yield database
    await database.close()
