"""A ClickHouse client that is opened when first needed, and not over and over while it is down."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from sensor_shared.adapters.clickhouse import (
    ClickHouseSettings,
    connect,
    error_code,
    is_transient,
)

_PAUSE_SECONDS = 1.0
_TOO_MUCH: Final = frozenset({158, 307})  # TOO_MANY_ROWS, TOO_MANY_BYTES


class DatabaseAwayError(Exception):
    """ClickHouse cannot answer now; the same query may succeed later."""


class TooMuchError(DatabaseError):
    """The answer needs more rows or bytes than one query may read."""


def utc(moment: datetime) -> datetime:
    """Returns a moment of a row with its time zone, which the driver may leave out."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Database:
    """Queries of a function that must start, and go on, while ClickHouse is away.

    Args:
        settings: where and as whom.
        clock: seconds, for the pause between two attempts to connect.
        query_settings: ClickHouse settings sent with each query, e.g. `max_execution_time`.
    """

    def __init__(
        self,
        settings: ClickHouseSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        **query_settings: Any,
    ):
        self._settings = settings
        self._clock = clock
        self._query_settings = query_settings
        self._client: AsyncClient | None = None
        self._failed_at = float("-inf")
        self._opening = asyncio.Lock()

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Returns the rows of a query; `{name:Type}` in it is bound to a parameter, never pasted.

        Raises:
            DatabaseAwayError: when ClickHouse is down, cut off or too busy.
            TooMuchError: when it would have to read more than it may.
            ClickHouseError: when it refuses the query.
        """
        client = await self._open()
        try:
            result = await client.query(sql, parameters=parameters)
        except (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _translated(error) from error
        return [tuple(row) for row in result.result_rows]

    async def text(self, sql: str, **parameters: Any) -> bytes:
        """Returns the answer to a query that names its FORMAT, as ClickHouse wrote it.

        Raises:
            DatabaseAwayError, ClickHouseError: as `rows`.
        """
        client = await self._open()
        try:
            answer: bytes = await client.raw_query(sql, parameters=parameters)
        except (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _translated(error) from error
        return answer

    async def insert(self, table: str, row: dict[str, Any], *, token: str | None = None) -> None:
        """Inserts one row: see `insert_many`."""
        await self.insert_many(table, [row], token=token)

    async def insert_many(
        self, table: str, rows: Sequence[Mapping[str, Any]], *, token: str | None = None
    ) -> None:
        """Inserts rows in one block and waits for its acknowledgement.

        Args:
            table: of the database that the settings name.
            rows: at least one, values by column, all with the same columns in the same order.
            token: ClickHouse ignores a second insert with the same one.

        Raises:
            DatabaseAwayError, ClickHouseError: as `rows`.
        """
        client = await self._open()
        settings: dict[str, Any] = {"async_insert": 0} | (
            {"insert_deduplication_token": token} if token else {}
        )
        try:
            await client.insert(
                table,
                [list(row.values()) for row in rows],
                column_names=list(rows[0]),
                settings=settings,
            )
        except (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _translated(error) from error

    async def insert_block(
        self, table: str, columns: Sequence[str], block: bytes, *, fmt: str, token: str
    ) -> None:
        """Inserts rows that are encoded already and waits for their acknowledgement.

        Args:
            table: of the database that the settings name.
            columns: of the block, in its order.
            block: in the format `fmt`, e.g. `ArrowStream`.
            fmt: one of ClickHouse's formats.
            token: ClickHouse ignores a second insert with the same one.

        Raises:
            DatabaseAwayError, ClickHouseError: as `rows`.
        """
        client = await self._open()
        settings = {"async_insert": 0, "insert_deduplication_token": token}
        try:
            await client.raw_insert(table, columns, block, settings, fmt)
        except (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _translated(error) from error

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()

    async def _open(self) -> AsyncClient:
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is not None:
                return self._client
            if self._clock() - self._failed_at < _PAUSE_SECONDS:
                raise DatabaseAwayError("ClickHouse did not answer just now")
            try:
                self._client = await connect(self._settings, **self._query_settings)
            except (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError) as error:
                self._failed_at = self._clock()
                raise _translated(error) from error
            return self._client


def _translated(error: Exception) -> Exception:
    if is_transient(error):
        return DatabaseAwayError(str(error))
    if isinstance(error, DatabaseError) and error_code(error) in _TOO_MUCH:
        return TooMuchError(str(error))
    return error
