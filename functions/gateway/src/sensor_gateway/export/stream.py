"""The way of an export to its client: chunk after chunk, as fast as it reads; cut when it fails.

An answer that is cut has no end: without `Content-Length` HTTP/1.1 marks the end of a whole
answer, and clients tell that this mark is missing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError
from fastapi.responses import StreamingResponse

from sensor_gateway.export.chunks import Chunks, Selection
from sensor_gateway.export.forms import Form
from sensor_gateway.export.position import Position
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.runtime.function import Message, Receive, Scope, Send
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_TRIES: Final = 3
_PAUSE_SECONDS: Final = 1.0


class ExportStream:
    """Writes one file.

    Args:
        chunks: where the readings come from.
        selection: which of them.
        form: what the file is like.
        rows: readings of one chunk, which is what is held in memory.
        limit: readings of the file at most; None: all there are.
    """

    def __init__(
        self,
        chunks: Chunks,
        selection: Selection,
        form: Form,
        *,
        rows: int,
        limit: int | None = None,
    ):
        self._chunks = chunks
        self._selection = selection
        self._form = form
        self._rows = rows
        self._left = limit

    async def open(self, after: Position | None) -> AsyncIterator[bytes]:
        """Returns the file's parts, the first of which is there already.

        Raises:
            DatabaseAwayError: when ClickHouse cannot begin.
        """
        wanted = self._wanted()
        first = await self._chunks.fetch(
            self._selection, after, wanted, fmt=self._form.clickhouse_format
        )
        return self._parts(first, wanted)

    async def _parts(self, chunk: bytes, wanted: int) -> AsyncIterator[bytes]:
        yield self._form.start()
        while True:
            piece = await asyncio.to_thread(self._form.piece, chunk)
            yield piece.body
            metrics.EXPORTED.inc(piece.readings)
            if self._left is not None:
                self._left -= piece.readings
            wanted, asked = self._wanted(), wanted
            if piece.readings < asked or piece.last is None or not wanted:
                break
            chunk = await self._fetch(piece.last, wanted)
        yield self._form.end()

    def _wanted(self) -> int:
        return self._rows if self._left is None else min(self._rows, self._left)

    async def _fetch(self, after: Position, wanted: int) -> bytes:
        """Asks again when ClickHouse does not answer: a restart need not end an export."""
        fmt = self._form.clickhouse_format
        for _ in range(_TRIES - 1):
            try:
                return await self._chunks.fetch(self._selection, after, wanted, fmt=fmt)
            except DatabaseAwayError:
                await asyncio.sleep(_PAUSE_SECONDS)
        return await self._chunks.fetch(self._selection, after, wanted, fmt=fmt)


class ExportResponse(StreamingResponse):
    """Streams for so long at most, and says when it has ended, however that comes.

    Args:
        parts: of the file.
        seconds: after which it is cut.
        part_seconds: after which it is cut when the client has not taken a part: who hardly reads
            would keep others from exporting.
        ended: called once.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        *,
        media_type: str,
        headers: dict[str, str],
        seconds: float,
        part_seconds: float,
        ended: Callable[[], None],
    ):
        super().__init__(parts, media_type=media_type, headers=headers)
        self._seconds = seconds
        self._part_seconds = part_seconds
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it, or as much of it as there is time and ClickHouse for."""

        async def sending(message: Message) -> None:
            async with asyncio.timeout(self._part_seconds):
                await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, sending)
        except (DatabaseAwayError, ClickHouseError, TimeoutError) as error:
            # Nothing is sent any more, not even the end: the server cuts the connection.
            logger().warning("export cut", error=str(error)[:300] or "it took too long")
        finally:
            self._ended()
