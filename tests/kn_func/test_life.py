"""Start, health and stop under func, whose middleware awaits none of them."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from .building import Builder, Built
from .conftest import Deploy
from .serving import Pair, Served, free_port, served
from .test_events import attributes, reading

# Slow to start, and slower to answer than the three seconds that the middleware gives.
SLOW = """
import asyncio, pathlib
from sensor_shared.runtime.func import hosted
from sensor_shared.runtime.responses import respond
from sensor_shared.runtime.settings import ServerSettings
from sensor_shared.telemetry.logs import LoggerSettings

class Slow:
    name, server, logger = "slow", ServerSettings(), LoggerSettings()
    async def start(self): await asyncio.sleep(2)
    async def stop(self):
        await asyncio.sleep(0.2)
        pathlib.Path("stopped").touch()
    def alive(self): return True
    def ready(self): return True
    async def handle(self, scope, receive, send):
        await asyncio.sleep(4)
        await respond(send, 200, b"done")

new = hosted(Slow)
"""


@pytest.fixture
def slow(builder: Builder, tmp_path: Path) -> Iterator[Served]:
    built: Built = builder.build("auth")
    (tmp_path / "function").mkdir()
    (tmp_path / "function" / "__init__.py").write_text(SLOW)
    port = free_port()
    environment = {
        "PYTHONPATH": f"{tmp_path}:{built.lib}",
        "LISTEN_ADDRESS": f"127.0.0.1:{port}",
    }
    with served(built.command(), environment, port, tmp_path / "log") as running:
        yield running


def test_a_function_is_not_ready_before_its_start_has_ended(slow: Served) -> None:
    assert slow.wait_until("/health/readiness", 500).text == "Unavailable: starting"
    early = slow.client.get("/")
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    assert slow.client.get("/health/liveness").status_code == 200
    assert slow.wait_until("/health/readiness", 200).text == "OK"


def test_sigterm_lets_a_request_end_that_the_middleware_would_cut_off(slow: Served) -> None:
    slow.wait_until("/health/readiness", 200)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(slow.client.get, "/")
        time.sleep(0.5)
        slow.process.send_signal(signal.SIGTERM)
        assert slow.wait_until("/health/readiness", 500).text == "Unavailable: stopping"
        refused = slow.client.get("/")
        assert (refused.status_code, refused.json()["detail"]) == (503, "stopping")
        assert under_way.result().text == "done"
    assert slow.process.wait(30) == 0
    assert (slow.log.parent / "stopped").exists()


def test_a_part_that_is_away_is_told_alike(deploy: Deploy) -> None:
    """ClickHouse: unready, alive, and each event is given back to be delivered again."""
    pair = deploy("consumer", TWINUP_CLICKHOUSE_PORT=str(free_port()))
    pair.framework.wait_until("/health/readiness", 503)
    pair.func.wait_until("/health/readiness", 500)  # the middleware's word for unready
    # Each begins to ask Redis by itself, and says until it has heard from it that it has not.
    deadline = time.monotonic() + 20
    while len(words := {one.client.get("/health/readiness").text for one in pair.both()}) > 1:
        assert time.monotonic() < deadline, words
        time.sleep(0.1)
    assert words.pop().startswith("Unavailable")
    for one in pair.both():
        assert one.client.get("/health/liveness").status_code == 200
    pair.func.wait_until("/metrics", 200)
    answer = pair.ask("POST", headers=attributes(), json=reading(), masked=r'"detail": "[^"]*"')
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_start_that_fails_is_told_by_health_and_log(deploy: Deploy) -> None:
    """The middleware serves all the same; readiness and liveness say that it is of no use."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        pair = deploy("alerts", TWINUP_GRPC_PORT=str(taken.getsockname()[1]))
        assert pair.framework.process.wait(30) != 0
        answer = pair.func.wait_until("/health/liveness", 500)
        assert answer.text == "start failed"
        assert pair.func.client.get("/health/readiness").text == "Unavailable: start failed"
        assert pair.func.client.get("/health/readiness").status_code == 500
        refused = pair.func.client.post("/", headers=attributes(), content=b"{}")
        assert (refused.status_code, refused.json()["detail"]) == (503, "start failed")
        (line,) = [line for line in pair.func.lines() if line["event"] == "start failed"]
        assert "Traceback" in line["exception"]
        assert pair.func.terminate() == 0


def test_mistakes_in_the_configuration_end_it_with_their_list(deploy: Deploy) -> None:
    pair = deploy("consumer", TWINUP_STORE_LINGER_MS="soon", TWINUP_REDIS_PORT="none")
    for one in pair.both():
        assert one.process.wait(30) == 1
    logs = [one.log.read_text(encoding="utf-8") for one in pair.both()]
    for log in logs:
        assert "TWINUP_STORE_LINGER_MS" in log
        assert "TWINUP_REDIS_PORT" in log
        assert "Traceback" not in log


def test_requests_beside_each_other_are_all_answered(consumer: Pair) -> None:
    """As a source sends them: 50 in flight over connections that are kept."""
    sent = [(attributes(), reading(f"kn-func-many-{number}")) for number in range(200)]

    async def send(one: Served) -> list[int]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=one.client.base_url, limits=limits) as client:
            posts = [client.post("/", headers=headers, json=body) for headers, body in sent]
            answers: list[httpx.Response] = await asyncio.gather(*posts)
        return [answer.status_code for answer in answers]

    for one in consumer.both():
        assert asyncio.run(send(one)) == [202] * len(sent)
