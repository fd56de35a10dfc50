"""One system for all tests of a module that only look at it.

It keeps the machine busy, so it must not go on beside the tests of others.
"""

from collections.abc import Iterator

import pytest

from .system_under_test import System


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    started = System.in_folder(tmp_path_factory.mktemp("system") / "run", System.DEVICES)
    up = started.command("up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        yield started
    finally:
        started.command("down")
        for left in started.processes():
            left.kill()
