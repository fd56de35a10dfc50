"""A load generator of its own process: raw HTTP/1.1 over many connections, no pipelining.

`python -m load.bench.api.client` reads one JSON object from its standard input, a `Plan`, and
writes one, what it has seen. Requests are whole bytes made before; of an answer it looks at the
status and the length, so that it takes a fraction of what the server takes.
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_STATUS = slice(len(b"HTTP/1.1 "), len(b"HTTP/1.1 200"))
_TICK_SECONDS = 0.001


class Plan(msgspec.Struct, frozen=True):
    """What is to be done.

    Attributes:
        port: of the server, on this machine.
        paths: asked one after the other, from the first again after the last.
        token: access token.
        connections: open at once.
        seconds: of the window.
        warm_up: seconds before it.
        rate: requests per second; None: each connection asks again as soon as it has its answer.
    """

    port: int
    paths: list[str]
    token: str
    connections: int
    seconds: float
    warm_up: float = 1.0
    rate: float | None = None


class Seen(msgspec.Struct, frozen=True):
    """What came of it, within the window.

    Attributes:
        requests: answered with 200.
        failed: answered otherwise, by status.
        seconds: that the window took.
        p50_ms, p99_ms, max_ms: from the moment at which a request was due, so that one which
            had to wait for a connection counts with its wait; None without any.
        client_cores: what this process took.
    """

    requests: int
    failed: dict[str, int]
    seconds: float
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    client_cores: float


class _Connection(asyncio.Protocol):
    """Sends one request, reads its answer, says so."""

    def __init__(self, answered: Callable[["_Connection", bytes], None]):
        self._answered = answered
        self._data = b""
        self._expected = 0
        self.transport: Any = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.transport.is_closing():
            raise ConnectionError("the server has closed the connection") from exc

    def ask(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._data = self._data + data if self._data else data
        if not self._expected:
            end = data.find(_HEAD_END)
            if end < 0:
                return
            at = data.find(_LENGTH, 0, end) + len(_LENGTH)
            length = int(data[at : data.find(b"\r\n", at)])
            self._expected = end + len(_HEAD_END) + length
        if len(data) >= self._expected:
            self._data, self._expected = b"", 0
            self._answered(self, data[_STATUS])


class _Run:
    def __init__(self, plan: Plan):
        head = f"HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {plan.token}\r\n\r\n"
        self._requests = [f"GET {path} {head}".encode() for path in plan.paths]
        self._plan = plan
        self._next = 0
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._from = float("inf")
        self._until = float("inf")
        self._times: list[float] = []
        self._failed: Counter[str] = Counter()
        self._over = asyncio.Event()

    async def run(self) -> Seen:
        plan, loop = self._plan, asyncio.get_running_loop()
        connections = [
            (await loop.create_connection(lambda: _Connection(self._done), "127.0.0.1", plan.port))[
                1
            ]
            for _ in range(plan.connections)
        ]
        began = _now()
        self._from, self._until = began + plan.warm_up, began + plan.warm_up + plan.seconds
        self._idle.extend(connections)
        if plan.rate is None:
            while self._idle:
                self._send(self._idle.popleft(), _now())
        else:
            self._pace(began)
        await asyncio.sleep(self._from - _now())
        cpu = time.process_time()
        sys.stdout.write("measuring\n")
        sys.stdout.flush()
        await asyncio.sleep(self._until - _now())
        cpu = time.process_time() - cpu
        self._idle.clear()
        for connection in connections:
            connection.transport.abort()
        times = np.array(self._times) * 1000
        known = len(times) > 0
        return Seen(
            requests=len(times),
            failed=dict(self._failed),
            seconds=plan.seconds,
            p50_ms=round(float(np.quantile(times, 0.5)), 3) if known else None,
            p99_ms=round(float(np.quantile(times, 0.99)), 3) if known else None,
            max_ms=round(float(times.max()), 3) if known else None,
            client_cores=round(cpu / plan.seconds, 3),
        )

    def _pace(self, due: float) -> None:
        """Sends what is due, on connections that are free; the rest waits for one.

        Each has its turn: one that is not used for seconds is closed by the server.
        """
        now = _now()
        rate = self._plan.rate or 1.0
        while due <= now:
            if self._idle:
                self._send(self._idle.popleft(), due)
            else:
                self._waiting.append(due)
            due += 1 / rate
        if due < self._until:
            asyncio.get_running_loop().call_later(_TICK_SECONDS, self._pace, due)

    def _send(self, connection: _Connection, due: float) -> None:
        connection.ask(self._requests[self._next], due)
        self._next = (self._next + 1) % len(self._requests)

    def _done(self, connection: _Connection, status: bytes) -> None:
        now = _now()
        if self._from <= now < self._until:
            if status == b"200":
                self._times.append(now - connection.due)
            else:
                self._failed[status.decode()] += 1
        if self._plan.rate is None:
            self._send(connection, now)
        elif self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)


def _now() -> float:
    """Seconds; uvloop's own clock knows whole milliseconds only."""
    return time.perf_counter()


def main() -> None:
    """Command line entry."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(_Run(plan).run())
    sys.stdout.write(json.dumps(msgspec.to_builtins(seen)) + "\n")


if __name__ == "__main__":
    main()
