"""The pytest plugin leaves nothing behind, also when a run is interrupted or killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

TEST = """
import pathlib, time

def test_part(redis_server, tmp_path):
    pathlib.Path({file!r}).touch()
    time.sleep({seconds})
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "temporary").mkdir()
    return tmp_path


@contextlib.contextmanager
def start(scratch: Path, seconds: float, *options: str) -> "Iterator[subprocess.Popen[bytes]]":
    test = scratch / "test_inner.py"
    test.write_text(TEST.format(file=str(scratch / "running"), seconds=seconds))
    plugin = ["-p", "sensor_local.testing", "-p", "no:cacheprovider"]
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *plugin, *options, str(test)],
        cwd=scratch,
        env={**os.environ, "TMPDIR": str(scratch / "temporary")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def running(scratch: Path) -> list[str]:
    """Names of the processes of this run: they have its folder for temporary files."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("TMPDIR") == str(scratch / "temporary")
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.name())
        except psutil.Error:
            continue
    return found


def left(scratch: Path) -> list[str]:
    return [path.name for path in (scratch / "temporary").glob("twinup-tests-*")]


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_a_run_stops_its_parts_and_removes_its_folder(
    scratch: Path, options: tuple[str, ...]
) -> None:
    with start(scratch, 0, *options) as run:
        assert run.wait(timeout=120) == 0
    assert running(scratch) == []
    assert left(scratch) == []


def test_an_interrupted_run_stops_its_parts_and_removes_its_folder(scratch: Path) -> None:
    with start(scratch, 600) as run:
        until((scratch / "running").exists, "the test runs")
        assert "redis-server" in running(scratch)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) == pytest.ExitCode.INTERRUPTED
    assert running(scratch) == []
    assert left(scratch) == []


def test_a_killed_run_leaves_no_process(scratch: Path) -> None:
    with start(scratch, 600) as run:
        until((scratch / "running").exists, "the test runs")
        assert "redis-server" in running(scratch)
        run.kill()
    until(lambda: running(scratch) == [], "the parts notice and stop")
