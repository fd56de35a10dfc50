"""Answers of ClickHouse's HTTP interface: headers, compression, and errors in the middle."""

import json
import secrets
from collections.abc import Awaitable, Callable

from sensor_local.clickhouse.connection import Summary
from sensor_local.clickhouse.encoding import Codec
from sensor_local.clickhouse.errors import ServerError
from sensor_shared.runtime.function import Send

_CONTENT_TYPES = {
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsonstrings": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "csvwithnamesandtypes": "text/csv; charset=UTF-8; header=present",
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnames": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnamesandtypes": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "parquet": "application/octet-stream",
    "arrow": "application/octet-stream",
    "arrowstream": "application/octet-stream",
    "xml": "application/xml; charset=UTF-8",
}
_TEXT = "text/plain; charset=UTF-8"

Headers = list[tuple[bytes, bytes]]


def summary_header(summary: Summary) -> bytes:
    """Writes X-ClickHouse-Summary."""
    values = {
        "read_rows": summary.read_rows,
        "read_bytes": summary.read_bytes,
        "written_rows": summary.written_rows,
        "written_bytes": summary.written_bytes,
        "total_rows_to_read": 0,
        "result_rows": summary.result_rows or summary.written_rows,
        "result_bytes": summary.result_bytes or summary.written_bytes,
        "elapsed_ns": int(summary.elapsed * 1e9),
    }
    return json.dumps({k: str(v) for k, v in values.items()}, separators=(",", ":")).encode()


class Answer:
    """The answer to one request.

    Args:
        send: the ASGI channel.
        headers: those that every answer of this request has.
        head: whether only the headers are wanted.

    Attributes:
        started: whether the client has been sent something.
    """

    def __init__(self, send: Send, headers: Headers, *, head: bool) -> None:
        self.started = False
        self._send = send
        self._headers = headers
        self._head = head
        self._tag = secrets.token_hex(8)

    async def text(self, status: int, body: bytes) -> None:
        """Sends plain text."""
        await self._whole(status, [(b"content-type", _TEXT.encode())], body)

    async def error(self, error: ServerError, version: str) -> None:
        """Sends an error instead of a result."""
        headers = [
            (b"content-type", _TEXT.encode()),
            (b"x-clickhouse-exception-code", str(error.code).encode()),
        ]
        if error.status == 401:
            headers.append((b"www-authenticate", b'Basic realm="ClickHouse server HTTP API"'))
        await self._whole(error.status, headers, error.text(version).encode())

    async def result(
        self,
        fmt: str,
        summary: Summary,
        output: bytes,
        more: Callable[[], Awaitable[bytes | None]] | None,
        *,
        compression: tuple[str, Codec] | None,
        version: str,
    ) -> None:
        """Sends a result, its first part and then what `more` gives until None.

        An error after the start is told in the body, between marks that a header announces,
        and the answer is then cut off, so that nobody takes it for complete.

        Raises:
            ServerError: that of `more`, told already.
        """
        headers = [
            (b"content-type", _CONTENT_TYPES.get(fmt.lower(), _TEXT).encode()),
            (b"x-clickhouse-format", fmt.encode("latin-1", "replace")),
            (b"x-clickhouse-summary", summary_header(summary)),
        ]
        codec: Codec | None = None
        if compression is not None and (output or more is not None):
            name, codec = compression
            headers.append((b"content-encoding", name.encode()))
        if more is None or self._head:
            if codec is not None:
                output = codec.feed(output) + codec.end()
            await self._whole(200, headers, output)
            return
        headers.append((b"x-clickhouse-exception-tag", self._tag.encode()))
        headers.append((b"transfer-encoding", b"chunked"))
        await self._start(200, headers)
        part: bytes | None = output
        try:
            while part is not None:
                await self._part(codec, part)
                part = await more()
        except ServerError as error:
            await self._part(codec, self._exception(error, version))
            if codec is not None and (tail := codec.end()):
                await self._send({"type": "http.response.body", "body": tail, "more_body": True})
            raise
        tail = codec.end() if codec is not None else b""
        await self._send({"type": "http.response.body", "body": tail})

    async def _part(self, codec: Codec | None, data: bytes) -> None:
        if codec is not None:
            data = codec.feed(data)
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _whole(self, status: int, headers: Headers, body: bytes) -> None:
        await self._start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self._send({"type": "http.response.body", "body": b"" if self._head else body})

    async def _start(self, status: int, headers: Headers) -> None:
        self.started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *self._headers],
            }
        )

    def _exception(self, error: ServerError, version: str) -> bytes:
        tag = self._tag.encode()
        message = error.text(version).encode()
        return b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (
            tag,
            message,
            len(message),
            tag,
        )
