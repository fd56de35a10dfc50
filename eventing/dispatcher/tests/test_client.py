"""The HTTP client keeps connections, and whatever a server does is an answer or an error."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest

from sensor_dispatcher import client as client_module
from sensor_dispatcher.client import KEPT_BYTES, Answer, Client

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Runs a raw TCP server and gives its URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/path?query=1"
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Reads one request as its head in text and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(
        int(line.split(":")[1]) for line in head.splitlines() if line.startswith("Content-Length")
    )
    return head, await reader.readexactly(length)


def answering(*answers: bytes, close: bool = False) -> Handler:
    """A handler that gives each request of a connection the next of these answers."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()
        if not close:
            await reader.read()

    return handler


async def post(url: str, body: bytes | None = b"x") -> Answer:
    client = Client(url)
    try:
        return await client.post({}, body, 5)
    finally:
        client.close()


async def test_a_request_is_complete_and_exact() -> None:
    seen: list[tuple[str, bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(handler) as url:
        client = Client(url)
        answer = await client.post({"ce-id": "1", "Prefer": "reply"}, b"\x00body", 5)
        client.close()
    assert answer == Answer(204)
    ((head, body),) = seen
    assert body == b"\x00body"
    assert head.splitlines()[:5] == [
        "POST /path?query=1 HTTP/1.1",
        "Host: " + url.split("/")[2],
        "Content-Length: 5",
        "ce-id: 1",
        "Prefer: reply",
    ]


async def test_one_connection_serves_one_request_after_the_other() -> None:
    connections = 0
    ok = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(ok, ok, ok)(reader, writer)

    async with serving(handler) as url:
        client = Client(url)
        answers = [await client.post({}, b"x", 5) for _ in range(3)]
        client.close()
    assert [answer.body for answer in answers] == [b"ok"] * 3
    assert connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
    ids=["connection close", "HTTP/1.0", "body until the end"],
)
async def test_a_connection_that_the_server_ends_is_not_used_again(answer: bytes) -> None:
    async with serving(answering(answer, close=True)) as url:
        client = Client(url)
        for _ in range(3):
            assert (await client.post({}, b"x", 5)).body == b"ok"
        client.close()


async def test_an_idle_connection_is_not_used_when_it_is_too_old() -> None:
    connections = 0
    ok = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(ok, ok)(reader, writer)

    async with serving(handler) as url:
        client = Client(url, idle_seconds=-1)
        for _ in range(2):
            await client.post({}, b"x", 5)
        client.close()
    assert connections == 2


class Replicas:
    """Servers on one port of several loopback addresses, with the resolver that knows them."""

    def __init__(self) -> None:
        self.served: dict[str, int] = {}
        self.addresses: list[str] = []
        self.port = 0
        self._servers: list[asyncio.Server] = []

    async def add(self, address: str) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await read_request(reader):
                    self.served[address] += 1
                    await asyncio.sleep(0.01)
                    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(connected, address, self.port)
        self.port = server.sockets[0].getsockname()[1]
        self.served[address] = 0
        self.addresses.append(address)
        self._servers.append(server)

    async def resolve(self, host: str, port: int) -> list[str]:
        assert (host, port) == ("consumer", self.port)
        return list(self.addresses)

    def client(self, **options: float) -> Client:
        return Client(f"http://consumer:{self.port}", resolve=self.resolve, **options)

    def close(self) -> None:
        for server in self._servers:
            server.close()


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    made = Replicas()
    await made.add("127.0.0.1")
    yield made
    made.close()


async def test_requests_spread_evenly_over_the_addresses_of_a_host(replicas: Replicas) -> None:
    """Whichever of them the resolver names first."""
    await replicas.add("127.0.0.2")
    await replicas.add("127.0.0.3")
    client = replicas.client()
    for _ in range(10):
        await asyncio.gather(*(client.post({}, b"x", 5) for _ in range(9)))
    client.close()
    assert replicas.served == {"127.0.0.1": 30, "127.0.0.2": 30, "127.0.0.3": 30}


async def test_a_replica_that_comes_later_gets_its_share(replicas: Replicas) -> None:
    client = replicas.client(life_seconds=0.1)
    await asyncio.gather(*(client.post({}, b"x", 5) for _ in range(6)))
    await replicas.add("127.0.0.2")
    await asyncio.sleep(0.15)
    await asyncio.gather(*(client.post({}, b"x", 5) for _ in range(6)))
    client.close()
    assert replicas.served["127.0.0.2"] >= 3


async def test_an_address_that_does_not_answer_is_passed_by_and_tried_last_afterwards(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue of connections is full, so that the kernel answers no further one."""
    monkeypatch.setattr(client_module, "_CONNECT_SECONDS", 1.0)
    with socket.socket() as silent, ExitStack() as waiting:
        silent.bind(("127.0.0.9", replicas.port))
        silent.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.9", replicas.port))
        replicas.addresses.insert(0, "127.0.0.9")
        client = replicas.client()
        answers = await asyncio.gather(*(client.post({}, b"x", 5) for _ in range(6)))
        monkeypatch.setattr(client_module, "_CONNECT_SECONDS", 60.0)
        later = await asyncio.gather(*(client.post({}, b"x", 5) for _ in range(9)))
        client.close()
    assert {answer.status for answer in answers + later} == {202}
    assert replicas.served == {"127.0.0.1": 15}


async def test_an_address_where_nobody_listens_is_passed_over(replicas: Replicas) -> None:
    replicas.addresses.insert(0, "127.0.0.9")
    client = replicas.client()
    for _ in range(3):
        assert (await client.post({}, b"x", 5)).status == 202
    client.close()
    assert replicas.served == {"127.0.0.1": 3}


async def test_a_host_without_an_address_is_an_error(replicas: Replicas) -> None:
    client = replicas.client()
    replicas.addresses.clear()
    with pytest.raises(OSError, match="consumer has no address"):
        await client.post({}, b"x", 5)


async def test_a_chunked_answer_is_read_whole_and_kept_in_part() -> None:
    chunk = b"400\r\n" + b"a" * 1024 + b"\r\n"
    long = (
        b"HTTP/1.1 500 No\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk * 5
        + b"0\r\n\r\n"
    )
    async with serving(answering(long, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as url:
        client = Client(url)
        answer = await client.post({}, b"x", 5)
        assert (answer.status, answer.headers["x-a"]) == (500, "b")
        assert answer.body == b"a" * KEPT_BYTES
        assert (await client.post({}, b"x", 5)).status == 200
        client.close()


async def test_an_interim_answer_is_not_the_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    made = b"HTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\n1"
    async with serving(answering(early + made)) as url:
        answer = await post(url)
    assert answer == Answer(201, {"content-length": "1"}, b"1")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"SSH-2.0-OpenSSH\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "not HTTP"],
)
async def test_half_an_answer_is_an_error(answer: bytes) -> None:
    async with serving(answering(answer, close=True)) as url:
        with pytest.raises(ConnectionError):
            await post(url)


async def test_nobody_listening_is_an_error() -> None:
    async with serving(answering()) as url:
        pass
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await post(url)


async def test_an_answer_that_does_not_come_in_time_is_a_timeout() -> None:
    async def handler(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(handler) as url:
        client = Client(url)
        with pytest.raises(TimeoutError):
            await client.post({}, b"x", 0.05)
        client.close()


async def test_a_second_answer_is_never_taken_for_the_next_requests() -> None:
    connections = 0
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(ok + b"HTTP/1.1 500 Evil\r\n", b"Content-Length: 0\r\n\r\n")(reader, writer)

    async with serving(handler) as url:
        client = Client(url)
        for _ in range(2):
            assert (await client.post({}, b"x", 5)).status == 200
        client.close()
    assert connections == 2
