"""ClickHouse behind TLS, with an authority of one's own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.adapters.migrations import MigrationSettings
from sensor_shared.runtime.settings import SettingsError
from sensor_shared.testing.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "ours").mkdir()
    return Authority(tmp_path / "ours")


@asynccontextmanager
async def listener(context: ssl.SSLContext, host: str, port: int) -> AsyncIterator[int]:
    """Takes TLS off in front of a server; yields the port."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def ask(server: Any, port: int, **changes: Any) -> list[tuple[Any, ...]]:
    section = {"port": port, "user": server.user, "password": server.password, "secure": True}
    database = Database(
        ClickHouseSettings.model_validate(section | {"database": "default"} | changes)
    )
    try:
        return await database.rows("SELECT 1")
    finally:
        await database.close()


@pytest.mark.integration
async def test_a_server_whose_authority_is_named_is_asked_by_tls(
    clickhouse_server: Any, authority: Authority
) -> None:
    context = authority.server("127.0.0.1")
    async with listener(context, clickhouse_server.host, clickhouse_server.port) as port:
        assert await ask(clickhouse_server, port, ca_cert=authority.ca) == [(1,)]


@pytest.mark.integration
async def test_a_server_of_an_unknown_authority_is_told_nothing(
    clickhouse_server: Any, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    context = authority.server("127.0.0.1")
    async with listener(context, clickhouse_server.host, clickhouse_server.port) as port:
        for ca in (None, Authority(tmp_path / "others").ca):
            with pytest.raises(DatabaseAwayError, match=r"(?i)certificate"):
                await ask(clickhouse_server, port, ca_cert=ca)


@pytest.mark.integration
async def test_a_server_whose_certificate_is_for_another_is_told_nothing(
    clickhouse_server: Any, authority: Authority
) -> None:
    context = authority.server("127.0.0.2")
    async with listener(context, clickhouse_server.host, clickhouse_server.port) as port:
        with pytest.raises(DatabaseAwayError, match=r"(?i)certificate"):
            await ask(clickhouse_server, port, ca_cert=authority.ca)


def test_an_authority_without_tls_or_without_its_file_is_a_mistake(tmp_path: Path) -> None:
    there = tmp_path / "ca.pem"
    there.touch()
    with pytest.raises(SettingsError, match="TWINUP_CLICKHOUSE_SECURE"):
        MigrationSettings.load({"TWINUP_CLICKHOUSE_CA_CERT": str(there)})
    with pytest.raises(SettingsError, match="TWINUP_CLICKHOUSE_CA_CERT"):
        MigrationSettings.load(
            {
                "TWINUP_CLICKHOUSE_CA_CERT": str(tmp_path / "none.pem"),
                "TWINUP_CLICKHOUSE_SECURE": "true",
            }
        )
    empty = MigrationSettings.load({"TWINUP_CLICKHOUSE_CA_CERT": ""})
    assert empty.clickhouse.ca_cert is None
