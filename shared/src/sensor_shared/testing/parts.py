"""The real Redis and ClickHouse as one test sees them: its own data, and lines it can cut."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sensor_shared.testing import rest
from sensor_shared.testing.line import Line


class Server(Protocol):
    """Where a part listens."""

    @property
    def host(self) -> str:
        """Name or address."""

    @property
    def port(self) -> int:
        """TCP port."""


class DatabaseServer(Server, Protocol):
    """A ClickHouse server that makes databases."""

    @property
    def user(self) -> str:
        """Who may use it."""

    @property
    def password(self) -> str:
        """The user's password."""

    def database(self) -> str:
        """Makes a fresh database with all migrations and returns its name."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines, and the settings sections REDIS and CLICKHOUSE that lead through them."""

    redis: Line
    clickhouse: Line
    sections: dict[str, dict[str, Any]]


@asynccontextmanager
async def lines(
    redis_server: Server, clickhouse_server: DatabaseServer, worker: str
) -> AsyncIterator[Lines]:
    """Yields lines to the worker's Redis database, emptied, and a fresh ClickHouse database."""
    redis = Line(redis_server.host, redis_server.port)
    clickhouse = Line(clickhouse_server.host, clickhouse_server.port)
    await redis.mend()
    await clickhouse.mend()
    number = await rest.empty_database(redis_server.host, redis_server.port, worker)
    sections: dict[str, dict[str, Any]] = {
        "redis": {"port": redis.port, "db": number},
        "clickhouse": {
            "port": clickhouse.port,
            "user": clickhouse_server.user,
            "password": clickhouse_server.password,
            "database": clickhouse_server.database(),
        },
    }
    try:
        yield Lines(redis, clickhouse, sections)
    finally:
        await redis.cut()
        await clickhouse.cut()
