"""One system for all tests that only look at it."""

import os
from collections.abc import Iterator

import pytest

from .system_under_test import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    run_dir = tmp_path_factory.mktemp("system") / "run"
    environ = os.environ | {
        "TWINUP_RUN_DIR": str(run_dir),
        "TWINUP_PORTS": "auto",
        "TWINUP_PRODUCER_DEVICE_COUNT": str(System.DEVICES),
    }
    started = System(run_dir, environ)
    up = started.command("up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        yield started
    finally:
        started.command("down")
        for left in started.processes():
            left.kill()
