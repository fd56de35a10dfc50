"""The adapter for func's middleware, called as that calls it: in the serving loop, not awaited."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from sensor_shared.runtime.func import Hosted, hosted
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.responses import respond
from sensor_shared.runtime.settings import ServerSettings, SettingsError
from sensor_shared.telemetry.logs import LoggerSettings


async def nothing() -> None:
    """What start and stop do when a test does not care."""


class Example:
    name = "example"
    logger = LoggerSettings()

    def __init__(
        self,
        *,
        start: Callable[[], Awaitable[None]] = nothing,
        stop: Callable[[], Awaitable[None]] = nothing,
        trusted_proxies: str = "",
    ):
        self.server = ServerSettings(trusted_proxies=trusted_proxies)
        self.begin, self.end = start, stop
        self.proceed = asyncio.Event()
        self.stopped = False
        self.wrong: list[str] = []

    async def start(self) -> None:
        await self.begin()

    async def stop(self) -> None:
        await self.end()
        self.stopped = True

    def alive(self) -> bool:
        return True

    def ready(self) -> bool:
        return True

    def troubles(self) -> list[str]:
        return self.wrong

    async def handle(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await self.proceed.wait()
        await respond(send, 200, scope["client"][0].encode())


@contextlib.asynccontextmanager
async def middleware(function: Hosted) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.Event]]:
    """Yields an HTTP client, and what the server's own signal handler sets to end the server."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, ended.set)
    function.start({})
    transport = httpx.ASGITransport(function.handle, client=("192.0.2.1", 1))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://f.example.com") as made:
            yield made, ended
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)


async def wait_for(ended: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await ended.wait()


async def test_it_is_ready_only_when_start_has_succeeded() -> None:
    may_start = asyncio.Event()

    async def wait() -> None:
        await may_start.wait()

    function = Hosted(Example(start=wait))
    async with middleware(function) as (client, _):
        await asyncio.sleep(0)
        assert function.ready() == (False, "Unavailable: starting")
        assert function.alive() == (True, "OK")
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        may_start.set()
        await asyncio.sleep(0.01)
        assert function.ready() == (True, "OK")
        assert (await client.get("/")).status_code == 200


async def test_a_start_that_raises_leaves_it_unready_and_asks_for_a_restart() -> None:
    async def fail() -> None:
        raise RuntimeError("no such port")

    function = Hosted(Example(start=fail))
    async with middleware(function) as (client, ended):
        await asyncio.sleep(0.01)
        assert function.ready() == (False, "Unavailable: start failed")
        assert function.alive() == (False, "start failed")
        answer = await client.get("/")
        assert (answer.status_code, answer.json()["detail"]) == (503, "start failed")
        signal.raise_signal(signal.SIGTERM)
        await wait_for(ended)


async def test_a_trouble_is_told_by_readiness() -> None:
    example = Example()
    function = Hosted(example)
    async with middleware(function):
        await asyncio.sleep(0.01)
        example.wrong = ["half is rejected"]
        assert function.ready() == (True, "degraded: half is rejected")


async def test_sigterm_ends_requests_under_way_then_stops_then_ends_the_server() -> None:
    order = []

    async def stop() -> None:
        order.append("stop")
        await asyncio.sleep(0.05)
        assert not ended.is_set()
        order.append("stopped")

    example = Example(stop=stop)
    function = Hosted(example)
    async with middleware(function) as (client, ended):
        await asyncio.sleep(0.01)
        slow = asyncio.create_task(client.get("/slow"))
        await asyncio.sleep(0.05)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert order == []
        assert function.ready() == (False, "Unavailable: stopping")
        assert (await client.get("/")).status_code == 503
        example.proceed.set()
        assert (await slow).status_code == 200
        await wait_for(ended)
    assert order == ["stop", "stopped"]
    assert example.stopped


async def test_a_request_that_never_ends_does_not_keep_it_from_stopping() -> None:
    example = Example()
    function = Hosted(example, grace=0.1)
    async with middleware(function) as (client, ended):
        await asyncio.sleep(0.01)
        slow = asyncio.create_task(client.get("/slow"))
        await asyncio.sleep(0.05)
        for _ in range(2):  # the second one changes nothing
            signal.raise_signal(signal.SIGTERM)
        await wait_for(ended)
        assert example.stopped
        assert not slow.done()
        slow.cancel()


async def test_sigterm_lets_a_function_end_first_what_would_go_on_for_long() -> None:
    class Endless(Example):
        def leave(self) -> None:
            self.proceed.set()

    async with middleware(Hosted(Endless())) as (client, ended):
        await asyncio.sleep(0.01)
        slow = asyncio.create_task(client.get("/slow"))
        await asyncio.sleep(0.05)
        signal.raise_signal(signal.SIGTERM)
        await wait_for(ended)  # the grace would be longer
        assert (await slow).status_code == 200


async def test_a_stop_that_raises_ends_the_server_all_the_same() -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    async with middleware(Hosted(Example(stop=fail))) as (_, ended):
        await asyncio.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)
        await wait_for(ended)


@pytest.mark.parametrize(
    ("trusted", "seen"), [("", "192.0.2.1"), ("192.0.2.1", "203.0.113.7"), ("*", "203.0.113.7")]
)
async def test_the_callers_address_is_believed_of_trusted_proxies_alone(
    trusted: str, seen: str
) -> None:
    async with middleware(Hosted(Example(trusted_proxies=trusted))) as (client, _):
        await asyncio.sleep(0.01)
        answer = await client.get("/", headers={"x-forwarded-for": "203.0.113.7"})
        assert answer.text == seen


def test_mistakes_in_the_configuration_end_the_process_with_their_list() -> None:
    def make() -> Example:
        raise SettingsError("configuration:\n  TWINUP_X: wrong")

    new = hosted(make)
    assert new.__name__ == "new", "the middleware tells a constructor by its name"
    with pytest.raises(SystemExit, match="TWINUP_X: wrong"):
        new()
