"""The command line with the real parts: up, status, down, leftovers, taken ports, Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from sensor_local import background
from sensor_local.folder import RunFolder
from sensor_local.process import Started

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


class Commands:
    """`python -m sensor_local` with a run folder of its own."""

    def __init__(self, run: Path):
        self.folder = RunFolder(run)
        self.environ = {**os.environ, "TWINUP_RUN_DIR": str(run), "TWINUP_PORTS": "auto"}

    def __call__(self, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "sensor_local", *words],
            env={**self.environ, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *words: str) -> "subprocess.Popen[str]":
        # What a script runs in its background ignores Ctrl-C, and so would this; a handler is
        # not inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "sensor_local", *words],
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)

    def left(self) -> list[str]:
        """Command lines of the processes of this run folder that live."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("TWINUP_RUN_DIR") == str(self.folder.path)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path / "run")
    yield commands
    background.down(commands.folder, lambda _line: None)
    assert commands.left() == []


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_up_status_down(local: Commands) -> None:
    up = local("up", "redis", "mail")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "redis: ready after" in up.stdout
    endpoints = json.loads((local.folder.path / "endpoints.json").read_text())
    assert endpoints.keys() == {"redis", "smtp", "mail"}

    status = local("status")
    assert status.returncode == 0
    assert endpoints["mail"] in status.stdout
    assert status.stdout.count("ready") == 2

    again = local("up", "redis")
    assert (again.returncode, again.stdout) == (
        0,
        "it is running already; `make status` shows it\n",
    )
    health = local("health")
    assert (health.returncode, health.stdout.split()) == (0, ["mail", "ok"])
    refused = local("clean")
    assert (refused.returncode, refused.stdout) == (1, "it is running; `make down` first\n")

    down = local("down")
    assert down.returncode == 0
    assert down.stdout.splitlines()[-1] == "stopped"
    assert not (local.folder.path / "endpoints.json").exists()
    assert local.left() == []
    assert local("status").returncode == 1
    assert local("down").stdout == "nothing was running\n"
    assert local("clean").returncode == 0
    assert not local.folder.path.exists()


def test_what_was_stored_is_there_after_a_second_start(local: Commands) -> None:
    assert local("up", "redis").returncode == 0
    first = local.folder.endpoints
    assert first is not None
    assert _redis(first, b"SET kept here\r\n") == b"+OK\r\n"
    local("down")
    assert local("up", "redis").returncode == 0
    second = local.folder.endpoints
    assert second is not None
    assert _redis(second, b"GET kept\r\n") == b"$4\r\nhere\r\n"


def test_taken_ports_are_reported_together_before_anything_starts(local: Commands) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        redis, mail = one.getsockname()[1], two.getsockname()[1]
        up = local(
            *("up", "redis", "mail", "mqtt"),
            TWINUP_PORTS_REDIS=str(redis),
            TWINUP_PORTS_MAIL=str(mail),
        )
    assert up.returncode == 1
    assert f"redis: port {redis} is taken by process {os.getpid()}" in up.stdout
    assert "TWINUP_PORTS_REDIS=<another port> changes it" in up.stdout
    assert f"mail: port {mail} is taken" in up.stdout
    assert local.folder.processes is None
    assert local.left() == []


def test_an_unknown_process_is_named(local: Commands) -> None:
    up = local("up", "rabbitmq")
    assert up.returncode == 1
    assert "no such process: rabbitmq (there are kafka, clickhouse," in up.stdout


def test_a_crash_in_the_middle_of_the_start_shows_why_and_leaves_no_process(
    local: Commands,
) -> None:
    local.folder.make()
    # Redis refuses a damaged file; Kafka is in the middle of its start then.
    damaged = local.folder.data("redis") / "appendonlydir"
    damaged.mkdir()
    (damaged / "appendonly.aof.manifest").write_text("damaged\n")
    up = local("up", "kafka", "redis", "mqtt")
    assert up.returncode == 1
    assert "redis ended with status 1; the end of" in up.stdout
    assert "manifest" in up.stdout
    assert local.left() == []
    assert local.folder.endpoints is None


def test_ctrl_c_in_the_middle_of_up_leaves_no_process(local: Commands) -> None:
    up = local.start("up", "kafka", "redis")
    until(lambda: _state(local.folder, "kafka") == "starting", "Kafka starts")
    up.send_signal(signal.SIGINT)
    out, _ = up.communicate(timeout=60)
    assert up.returncode == 130, out
    assert local.left() == []


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_ends_run_cleanly_also_when_it_comes_twice(local: Commands, signals: int) -> None:
    run = local.start("run", "redis", "mail")
    until(lambda: local.folder.endpoints is not None, "it runs")
    for _ in range(signals):
        run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0, out
    assert out.splitlines()[-1] == "stopped"
    assert local.left() == []
    assert local.folder.endpoints is None


def test_down_ends_what_a_killed_supervisor_has_left_and_nothing_else(local: Commands) -> None:
    assert local("up", "redis").returncode == 0
    document = local.folder.processes
    assert document is not None
    supervisor = Started(**document["supervisor"])
    redis = Started(document["processes"][0]["pid"], document["processes"][0]["created"])
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeper) as leftover, subprocess.Popen(sleeper) as stranger:
        try:
            os.kill(supervisor.pid, signal.SIGKILL)
            until(lambda: redis.find() is None, "the kernel ends Redis with the supervisor")
            # What the kernel does not end elsewhere, and a stranger with a reused id.
            local.folder.processes = _with(document, leftover.pid, stranger.pid)
            down = local("down")
            assert down.stdout == "ended 1 processes that an earlier run had left\n"
            assert leftover.wait(timeout=10) == -signal.SIGTERM
            assert stranger.poll() is None
            assert local.folder.processes is None
            assert local.folder.endpoints is None
        finally:
            leftover.kill()
            stranger.kill()


def test_up_works_after_a_killed_supervisor(local: Commands) -> None:
    assert local("up", "redis").returncode == 0
    document = local.folder.processes
    assert document is not None
    os.kill(document["supervisor"]["pid"], signal.SIGKILL)
    up = local("up", "redis")
    assert up.returncode == 0, up.stdout
    assert local("status").stdout.count("ready") == 1


def test_a_part_that_dies_is_started_again(local: Commands) -> None:
    assert local("up", "redis").returncode == 0
    document = local.folder.processes
    assert document is not None
    os.kill(document["processes"][0]["pid"], signal.SIGKILL)
    until(lambda: _restarts(local.folder) == 1, "Redis runs again")
    log = local.folder.log("supervisor").read_text()
    assert "redis: was ended by SIGKILL; starting it again in 0.5 s" in log


def test_the_system_ends_with_its_owner(local: Commands) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as owner:
        environ: Mapping[str, str] = local.environ
        assert background.up(local.folder, environ, lambda _: None, ["redis"], owner=owner.pid)
        owner.kill()
    until(lambda: not local.folder.is_supervised(), "it stops")
    until(lambda: local.left() == [], "its processes are gone")


def _with(document: dict[str, object], leftover: int, stranger: int) -> dict[str, object]:
    mine = Started.of(leftover)
    assert mine is not None
    line = {"name": "leftover", "pid": mine.pid, "created": mine.created}
    other = {"name": "stranger", "pid": stranger, "created": mine.created - 3600}
    return {**document, "processes": [line, other]}


def _state(folder: RunFolder, name: str) -> str | None:
    document = folder.processes or {"processes": []}
    states = {process["name"]: process["state"] for process in document["processes"]}
    return states.get(name)


def _restarts(folder: RunFolder) -> int:
    document = folder.processes
    assert document is not None
    process = document["processes"][0]
    return int(process["restarts"]) if process["state"] == "ready" else 0


def _redis(endpoints: Mapping[str, str], command: bytes) -> bytes:
    port = int(endpoints["redis"].rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(command)
        return connection.recv(100)
