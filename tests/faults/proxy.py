"""An HTTP proxy before ClickHouse that spoils statements when it is told to: inserts, mostly.

It understands just as much of HTTP/1.1 as it takes to know where a message ends, so that a
connection can be cut at a chosen byte of an insert.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

HOST = "127.0.0.1"
_END = b"\r\n\r\n"
_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Spoil:
    """What becomes of a statement instead of being executed and answered.

    Attributes:
        reaches: share of the body that ClickHouse gets; at 1 it also gets to apply and answer it.
        answer: what the client gets; the connection is cut when it is None.
        statement: the word that those begin with which it becomes of.
    """

    reaches: float
    answer: bytes | None = None
    statement: bytes = b"INSERT"


def exception(status: int, code: int, text: str) -> bytes:
    """Returns an answer as ClickHouse words its exceptions."""
    body = f"Code: {code}. DB::Exception: {text}\n".encode()
    head = (
        f"HTTP/1.1 {status} Spoilt\r\nContent-Type: text/plain; charset=UTF-8\r\n"
        f"X-ClickHouse-Exception-Code: {code}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True, slots=True)
class _Message:
    head: bytes
    body: bytes

    def states(self, statement: bytes) -> bool:
        """Tells whether such a statement is in the address or begins the body."""
        line = self.head.partition(b"\r\n")[0]
        return statement in line or self.body.lstrip().startswith(statement)


class Proxy:
    """Listens on a port of its own, in a thread of its own, and passes everything on.

    Each request goes to ClickHouse over a connection of its own: what it does to its idle
    connections stays between it and the proxy.

    Attributes:
        port: its own.
        spoilt: statements that were spoilt so far.
        applied: those among them that ClickHouse had answered with success.
    """

    def __init__(self, target: int):
        self._target = target
        self._spoil: Spoil | None = None
        self._every = 1
        self._seen = 0
        self.port = 0
        self.spoilt = 0
        self.applied = 0
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._listening.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop and self._stop:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @contextlib.contextmanager
    def spoiling(self, spoil: Spoil, *, every: int = 1) -> Iterator[None]:
        """Spoils every n-th such statement, n from 1, as long as the context lasts."""
        self._every, self._spoil = every, spoil
        try:
            yield
        finally:
            self._spoil = None

    # --- in the thread

    def _run(self) -> None:
        asyncio.run(self._listen())

    async def _listen(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, HOST, 0, limit=_LIMIT)
        self._listening.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = await _read(reader)
                answer = await self._answer(request)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.transport.abort()

    async def _answer(self, request: _Message) -> bytes | None:
        """What the client gets; None when the connection is to be cut."""
        spoil = self._chosen(request)
        if spoil is None:
            return await self._ask(request)
        self.spoilt += 1
        if spoil.reaches >= 1:
            self.applied += (await self._ask(request)).startswith(b"HTTP/1.1 200")
        elif spoil.reaches > 0:
            _, back = await asyncio.open_connection(HOST, self._target)
            back.write(request.head + request.body[: int(len(request.body) * spoil.reaches)])
            await back.drain()
            back.close()
        return spoil.answer

    def _chosen(self, request: _Message) -> Spoil | None:
        if self._spoil is None or not request.states(self._spoil.statement):
            return None
        self._seen += 1
        return None if self._seen % self._every else self._spoil

    async def _ask(self, request: _Message) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, self._target, limit=_LIMIT)
        try:
            writer.write(request.head + request.body)
            await writer.drain()
            answer = await _read(reader)
        finally:
            writer.close()
        return answer.head + answer.body


async def _read(reader: asyncio.StreamReader) -> _Message:
    """Reads one message, its body as it is on the wire.

    Raises:
        IncompleteReadError: when the connection ends before the message does.
    """
    head = await reader.readuntil(_END)
    headers = dict(
        line.lower().split(b":", 1) for line in head.removesuffix(_END).split(b"\r\n")[1:]
    )
    if b"chunked" in headers.get(b"transfer-encoding", b""):
        return _Message(head, await _read_chunks(reader))
    return _Message(head, await reader.readexactly(int(headers.get(b"content-length", b"0"))))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        body += size + chunk
        if len(chunk) == 2:
            return body
