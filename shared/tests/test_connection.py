"""What strangers send to a REST service, over real sockets to the real server."""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

FUNCTION = """
import asyncio
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sensor_shared.runtime.function import handle
from sensor_shared.runtime.http.address import client_address
from sensor_shared.runtime.http.application import rest_service
from sensor_shared.runtime.http.exchange import Exchange
from sensor_shared.runtime.http.settings import RestServerSettings
from sensor_shared.telemetry.logs import LoggerSettings

router = APIRouter()
left = []

class Letter(BaseModel):
    text: str = Field(max_length=1_000)
    pages: list[int] = []

@router.post("/letters")
async def write(letter: Letter): return letter

@router.get("/things/{{name}}")
async def thing(name: str, request: Request, page: int = 1):
    return {{"name": name, "page": page, "address": client_address(request.scope)}}

@router.post("/unread")
async def unread(): return {{}}

@router.get("/stream")
async def stream():
    async def parts():
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.01)
        finally:
            left.append(1)
    return StreamingResponse(parts())

@router.get("/left")
async def how_many_left(): return len(left)

class Example:
    name = "example"
    server = RestServerSettings(
        port={port}, max_body_bytes=100_000, head_seconds=1.0, body_seconds=1.0,
        trusted_proxies={trusted!r}, hsts_seconds=60,
    )
    logger = LoggerSettings()
    def __init__(self):
        rest = rest_service(title="t", description="d", routers=[router], tags=[])
        self._app = Exchange("example", rest, self.server)
    async def start(self): pass
    async def stop(self): pass
    def alive(self): return True
    def ready(self): return True
    async def handle(self, scope, receive, send): await self._app(scope, receive, send)

def make(): return Example()
"""


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Stranger:
    """A connection on which anything can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader = reader
        self.writer = writer

    async def answer(self, *, head: bool = False) -> Answer:
        """Reads one answer."""
        async with asyncio.timeout(10):
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines[1:] if line)
            }
            length = 0 if head else int(headers.get("content-length", 0))
            return Answer(int(lines[0].split()[1]), headers, await self._reader.readexactly(length))

    async def closed(self) -> bool:
        """Waits until the other side has closed."""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                while await self._reader.read(65_536):
                    pass
        return True

    async def rest(self) -> bytes:
        """Reads until the other side closes."""
        async with asyncio.timeout(10):
            return await self._reader.read()

    def open(self) -> bool:
        return not self._reader.at_eof()


@dataclass
class Served:
    port: int
    strangers: list[Stranger] = field(default_factory=list)

    async def stranger(self, *sent: bytes) -> Stranger:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        made = Stranger(reader, writer)
        self.strangers.append(made)
        for data in sent:
            writer.write(data)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return made

    def leave(self) -> None:
        for stranger in self.strangers:
            stranger.writer.transport.abort()

    async def ask(self, head: bytes, body: bytes = b"") -> Answer:
        return await (await self.stranger(head, body)).answer()


@contextlib.contextmanager
def running(folder: Path, trusted: str = "") -> Iterator[int]:
    """Runs the real server as a process of its own, and yields its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    (folder / "function").mkdir()
    source = FUNCTION.format(port=port, trusted=trusted)
    (folder / "function" / "__init__.py").write_text(source)
    process = subprocess.Popen(
        [sys.executable, "-m", "sensor_shared.runtime", str(folder)],
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/health/readiness")
        yield port
    finally:
        process.kill()
        process.wait()


def _wait(url: str) -> None:
    """Returns when the server answers: a connection alone may be one to ourselves."""
    ends = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - our own address
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < ends, "the server does not answer"
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running(tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture
async def served(port: int) -> AsyncIterator[Served]:
    made = Served(port)
    yield made
    made.leave()


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: service.example.com", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def is_problem(answer: Answer, status: int) -> bool:
    """Tells whether it is a problem document that gives nothing away."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json", answer
    document = json.loads(answer.body)
    assert document["status"] == status
    assert document["type"] == "about:blank"
    for word in (b"Traceback", b".py", b"Error("):
        assert word not in answer.body
    return True


async def test_a_body_that_comes_byte_by_byte_is_408_and_the_connection_is_closed(
    served: Served,
) -> None:
    stranger = await served.stranger(
        request("POST", "/letters", "Content-Type: application/json", "Content-Length: 1000")
    )
    started = time.perf_counter()
    dripping = asyncio.create_task(_drip(stranger, b" "))
    answer = await stranger.answer()
    assert is_problem(answer, 408)
    assert answer.headers["connection"] == "close"
    assert await stranger.closed()
    assert 0.9 < time.perf_counter() - started < 5
    await dripping


async def test_a_head_that_comes_byte_by_byte_is_408_and_the_connection_is_closed(
    served: Served,
) -> None:
    stranger = await served.stranger(b"GET /things/1 HTTP/1.1\r\nHost: a\r\n")
    dripping = asyncio.create_task(_drip(stranger, b"X-A: b\r\n"))
    assert is_problem(await stranger.answer(), 408)
    assert await stranger.closed()
    await dripping


async def _drip(stranger: Stranger, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            stranger.writer.write(data)
            await stranger.writer.drain()
            await asyncio.sleep(0.05)
            if not stranger.open():
                return


async def test_a_connection_on_which_nothing_comes_is_closed_without_an_answer(
    served: Served,
) -> None:
    """Whoever opened it in advance would take one for that of the request it sends just then."""
    stranger = await served.stranger()
    assert await stranger.rest() == b""


async def test_line_ends_do_not_keep_a_connection_open_after_an_answer(served: Served) -> None:
    stranger = await served.stranger(request("GET", "/things/1"))
    assert (await stranger.answer()).status == 200
    dripping = asyncio.create_task(_drip(stranger, b"\r\n"))
    assert await stranger.closed()
    await dripping


async def test_the_rest_of_a_body_that_nobody_reads_does_not_keep_a_connection_open(
    served: Served,
) -> None:
    stranger = await served.stranger(request("POST", "/unread", "Content-Length: 1000"))
    assert (await stranger.answer()).status == 200
    dripping = asyncio.create_task(_drip(stranger, b" "))
    assert await stranger.closed()
    await dripping


async def test_a_connection_serves_many_requests_one_after_the_other_and_at_once(
    served: Served,
) -> None:
    one = request("GET", "/things/1")
    stranger = await served.stranger(one)
    assert (await stranger.answer()).status == 200
    await asyncio.sleep(1.2)  # longer than a head may take: it is idle, not slow
    stranger.writer.write(request("POST", "/letters", body=b'{"text": "a"}') + one + one)
    assert [(await stranger.answer()).status for _ in range(3)] == [200] * 3


async def test_a_long_path_is_414(served: Served) -> None:
    assert (await served.ask(request("GET", f"/things/{'a' * 7_000}"))).status == 200
    for path in (f"/things/{'a' * 8_200}", f"/things/1?page={'1' * 100_000}"):
        stranger = await served.stranger(request("GET", path))
        answer = await stranger.answer()
        assert is_problem(answer, 414)
        assert await stranger.closed()


async def test_many_and_large_headers_are_431(served: Served) -> None:
    many = [f"X-{number}: a" for number in range(101)]
    large = [f"X-{number}: {'a' * 4_000}" for number in range(9)]
    for headers in (many, large, ["X-A: " + "a" * 40_000], ["a" * 40_000 + ": a"]):
        stranger = await served.stranger(request("GET", "/things/1", *headers))
        assert is_problem(await stranger.answer(), 431)
        assert await stranger.closed()


async def test_a_header_without_an_end_is_cut_off(served: Served) -> None:
    stranger = await served.stranger(b"GET / HTTP/1.1\r\nX-A: ")
    for _ in range(40):
        with contextlib.suppress(ConnectionError):
            stranger.writer.write(b"a" * 1_000)
            await stranger.writer.drain()
            await asyncio.sleep(0.005)
    assert is_problem(await stranger.answer(), 431)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /things/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"POST /letters HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /letters HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /letters HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_400_and_the_connection_is_closed(
    served: Served, sent: bytes
) -> None:
    stranger = await served.stranger(sent)
    assert is_problem(await stranger.answer(), 400)
    assert await stranger.closed()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 50_000 + b"]" * 50_000, 400),
        (b'{"text":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b'{"text": ' + b"[" * 900 + b"]" * 900 + b"}", 422),
        (b'{"text": "\xff\xfe"}', 400),
        (b"\xff", 400),
        (b'{"text": "\\ud800"}', 422),
        (b'{"\\ud800": 1, "text": 1}', 422),
        (b'{"text": "a", "pages": [' + b"9" * 5_000 + b"]}", 400),
        (b'{"text": "a", "pages": [1e999]}', 422),
        (b'{"text": "a", "pages": [NaN]}', 422),
        (b"null", 422),
        (b"{", 422),
        (b" " * 100_001, 413),
    ],
)
async def test_a_strange_body_is_refused_with_a_problem_document(
    served: Served, body: bytes, status: int
) -> None:
    assert is_problem(await served.ask(request("POST", "/letters", body=body)), status)


async def test_a_nul_character_is_a_character(served: Served) -> None:
    answer = await served.ask(request("POST", "/letters", body=b'{"text": "a\\u0000b"}'))
    assert (answer.status, json.loads(answer.body)["text"]) == (200, "a\0b")
    answer = await served.ask(request("GET", "/things/a%00b"))
    assert (answer.status, json.loads(answer.body)["name"]) == (200, "a\0b")


async def test_paths_that_climb_or_hide_slashes_lead_nowhere(served: Served) -> None:
    for path in (
        "/things/../../etc/passwd",
        "/things/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "//things/1",
    ):
        assert is_problem(await served.ask(request("GET", path)), 404)


async def test_no_header_of_ours_can_be_written_by_who_asks(served: Served) -> None:
    sent = request("GET", "/things/a%0d%0aX-Injected:%201?page=%0d%0aX-Injected:1")
    answer = await served.ask(sent)
    assert "x-injected" not in answer.headers
    strange = request("GET", "/things/1", "X-Request-ID: a\tb%0d%0aX-Injected: 1")
    answer = await served.ask(strange)
    assert len(answer.headers["x-request-id"]) == 36
    assert "x-injected" not in answer.headers


async def test_every_method_is_answered_as_http_says(served: Served) -> None:
    options = await served.ask(request("OPTIONS", "/things/1"))
    assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    for method in ("DELETE", "TRACE", "PROPFIND"):
        answer = await served.ask(request(method, "/things/1"))
        assert is_problem(answer, 405)
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await served.ask(request("POST", "/things/1"))).headers["allow"].startswith("GET")
    for path in ("/nothing", "/robots.txt", "/favicon.ico"):
        for method in ("GET", "OPTIONS", "DELETE"):
            assert is_problem(await served.ask(request(method, path)), 404)


async def test_head_is_get_without_a_body(served: Served) -> None:
    get = await served.ask(request("GET", "/things/1"))
    stranger = await served.stranger(request("HEAD", "/things/1"), request("GET", "/things/2"))
    head = await stranger.answer(head=True)
    assert head.status == 200
    for name in ("content-type", "content-length", "cache-control"):
        assert head.headers[name] == get.headers[name]
    assert json.loads((await stranger.answer()).body)["name"] == "2"
    stranger = await served.stranger(request("HEAD", "/nothing"))
    assert (await stranger.answer(head=True)).status == 404


async def test_head_of_a_stream_ends_it(served: Served) -> None:
    stranger = await served.stranger(request("HEAD", "/stream"))
    assert (await stranger.answer(head=True)).status == 200
    async with asyncio.timeout(10):
        while (await served.ask(request("GET", "/left"))).body != b"1":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_an_upgrade_is_not_taken(served: Served) -> None:
    sent = request("GET", "/things/1", "Connection: Upgrade", "Upgrade: websocket")
    assert (await served.ask(sent)).status == 200


async def test_tls_alone_is_told_when_it_is_configured(served: Served) -> None:
    answer = await served.ask(request("GET", "/things/1"))
    assert answer.headers["strict-transport-security"] == "max-age=60"
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("trusted", "told", "nonsense"),
    [("", "127.0.0.1", "127.0.0.1"), ("127.0.0.1,192.0.2.0/24", "198.51.100.7", "unknown")],
)
async def test_a_stranger_does_not_choose_his_address(
    tmp_path: Path, trusted: str, told: str, nonsense: str
) -> None:
    """What stands before the proxies' own addresses in X-Forwarded-For is the stranger's word."""
    lines = ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 198.51.100.7, 192.0.2.1"]
    with running(tmp_path, trusted) as port:
        served = Served(port)
        answer = await served.ask(request("GET", "/things/1", *lines, "Forwarded: for=203.0.113.9"))
        assert json.loads(answer.body)["address"] == told
        answer = await served.ask(request("GET", "/things/1", "X-Forwarded-For: '; drop table"))
        assert json.loads(answer.body)["address"] == nonsense
        served.leave()
