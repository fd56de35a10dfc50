"""One function as a process under one of the two runtimes, and the same request to both."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from .building import ROOT, Built

READY_SECONDS = 40
# What servers say for themselves, and what differs from one answer to the next.
_OWN = {"date", "server", "connection", "x-request-id", "content-length", "ratelimit"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Served:
    """A process and a client of it."""

    client: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Returns what it logged by our own logger."""
        texts = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(text) for text in texts if text.startswith("{")]

    def wait_until(self, path: str, status: int) -> httpx.Response:
        """Returns the answer as soon as it has this status."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            try:
                answer = self.client.get(path)
            except httpx.TransportError:
                answer = httpx.Response(0)
            if answer.status_code == status:
                return answer
            time.sleep(0.05)
        raise AssertionError(f"{path} is not {status}:\n{self.log.read_text(encoding='utf-8')}")

    def metric(self, line: str) -> float:
        rows = self.client.get("/metrics").text.splitlines()
        return sum(float(row.rpartition(" ")[2]) for row in rows if row.startswith(line))

    def terminate(self) -> int:
        """Sends SIGTERM and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def served(
    command: list[str], environment: Mapping[str, str], port: int, log: Path
) -> Iterator[Served]:
    """Yields a process that serves, or will; it is killed in the end if it still runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, env=dict(environment), stdout=output, stderr=output
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Served(client, process, log)
    finally:
        process.kill()
        process.wait()


def under_func(built: Built, environment: Mapping[str, str], log: Path) -> Any:
    """Serves as the container's command does; the server's settings are func's own."""
    port = free_port()
    variables = {"PYTHONPATH": str(built.lib), "LISTEN_ADDRESS": f"127.0.0.1:{port}"}
    return served(built.command(), {**environment, **variables}, port, log)


def under_framework(name: str, environment: Mapping[str, str], log: Path) -> Any:
    """Serves as `make run` does."""
    port = free_port()
    command = [sys.executable, "-m", "sensor_shared.runtime", str(ROOT / "functions" / name)]
    return served(command, {**environment, "TWINUP_SERVER_PORT": str(port)}, port, log)


@dataclass(frozen=True)
class Pair:
    """The same function under both."""

    framework: Served
    func: Served
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def both(self) -> tuple[Served, Served]:
        return self.framework, self.func

    def ask(
        self,
        method: str,
        path: str = "/",
        *,
        masked: str = "",
        tokens: Sequence[str] = (),
        **request: Any,
    ) -> httpx.Response:
        """Sends the same request to both, and returns func's answer when it is the other's too.

        Args:
            method: of the request.
            path: of the request.
            masked: a pattern of what may differ in the body.
            tokens: the access token of either, if it needs one.
            request: what httpx takes.
        """
        answers = []
        for number, one in enumerate(self.both()):
            if tokens:
                request["headers"] = {"authorization": f"Bearer {tokens[number]}"}
            answers.append(one.client.request(method, path, **request))
        expected, found = (_comparable(answer, masked) for answer in answers)
        assert found == expected, f"under func: {found}\nunder functions-framework: {expected}"
        return answers[1]


def _comparable(answer: httpx.Response, masked: str) -> tuple[int, dict[str, str], str]:
    headers = {name: value for name, value in answer.headers.items() if name not in _OWN}
    return answer.status_code, headers, re.sub(masked, "…", answer.text) if masked else answer.text
