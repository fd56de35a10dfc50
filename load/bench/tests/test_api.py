"""The client of the gateway's benchmark, against a server whose pace is known."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import sleep
from typing import Any, ClassVar

import msgspec
import pytest

from load.bench.api import scenarios
from load.bench.api.client import Plan, Seen
from load.bench.api.marks import MARKS, table


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Handler.asked.append(self.path)
        sleep(0.02)
        body = json.dumps({"token": self.headers["Authorization"]}).encode()
        self.send_response(404 if self.path == "/nothing" else 200)
        # As uvicorn writes it.
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def run(**plan: Any) -> Seen:
    given = Plan(token="t", warm_up=0.2, seconds=1.0, **plan)
    done = subprocess.run(
        [sys.executable, "-m", "load.bench.api.client"],
        input=msgspec.json.encode(given),
        capture_output=True,
        check=True,
        timeout=30,
    )
    begun, line = done.stdout.splitlines()
    assert begun == b"measuring"
    return msgspec.json.decode(line, type=Seen)


def test_each_connection_waits_for_its_answer_before_it_asks_again(port: int) -> None:
    seen = run(port=port, paths=["/a", "/b"], connections=2)
    assert 20 <= seen.requests <= 100, "two connections, 20 ms each"
    assert 20 <= (seen.p50_ms or 0) < 200
    assert not seen.failed
    assert set(Handler.asked) == {"/a", "/b"}


def test_a_request_that_waits_for_a_connection_counts_with_its_wait(port: int) -> None:
    """At 100 a second over one connection that takes 20 ms the wait grows all the time."""
    seen = run(port=port, paths=["/a"], connections=1, rate=100.0)
    assert (seen.p99_ms or 0) > 150


def test_an_answer_that_is_no_200_is_a_failure(port: int) -> None:
    seen = run(port=port, paths=["/nothing"], connections=1)
    assert seen.failed["404"] > 0
    assert (seen.requests, seen.p99_ms) == (0, None)


def test_each_scenario_has_marks_and_the_table_shows_them() -> None:
    assert {mark.path.split(".")[1] for mark in MARKS} == set(scenarios.NAMES)
    figures = {"api": {"device_list": {"p99_ms": 60.0}}}
    rows = table(figures)
    assert rows.row_count == len(MARKS)
    by_path = {mark.path: mark for mark in MARKS}
    assert by_path["api.device_list.p99_ms"].value(figures) == 60.0
    assert not by_path["api.device_list.p99_ms"].met(60.0)
    assert by_path["api.latest.paced.p99_ms"].value(figures) is None
