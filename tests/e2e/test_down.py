"""Stopping: everything acknowledged is accounted for, and no process is left."""

import json
import re
from pathlib import Path

import pytest

from .system_under_test import System, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("system"), pytest.mark.timeout(300)]


def test_down_accounts_for_every_acknowledged_reading_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    system = System.in_folder(tmp_path / "run", devices=500)
    try:
        up = system.command("up")
        assert up.returncode == 0, up.stdout + up.stderr
        ports = json.loads((system.run_dir / "endpoints.json").read_text())
        assert ports
        wait_for(
            lambda: int(system.query("SELECT count() AS n FROM readings")[0]["n"]) > 2_000,
            "some thousand readings",
        )
    finally:
        down = system.command("down")
        left = system.processes()
        for process in left:
            process.kill()
    assert down.returncode == 0, down.stdout + down.stderr
    account = re.search(
        r"received ([\d,]+) = stored ([\d,]+) \+ duplicate ([\d,]+) \+ rejected ([\d,]+)"
        r" \+ dead-lettered 0 \+ in flight 0; lost 0, duplicated 0",
        down.stdout + down.stderr,
        re.DOTALL,
    )
    assert account, down.stdout + down.stderr
    received, stored, duplicate, rejected = (
        int(number.replace(",", "")) for number in account.groups()
    )
    assert received == stored + duplicate + rejected
    assert stored > 2_000
    assert left == []
    assert not (system.run_dir / "endpoints.json").exists()
