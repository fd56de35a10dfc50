"""Parts lost with all that they held: what docs/operations tells to do, done."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from .system_under_test import ROOT, System, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("system"), pytest.mark.timeout(400)]
DEVICES = 200


def module(system: System, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=dict(system.environ),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def started(system: System, *processes: str) -> None:
    up = system.command("up", *processes)
    assert up.returncode == 0, up.stdout + up.stderr


def audit(system: System) -> Any:
    return json.loads(system.command("audit", "--json", "--all").stdout)


def readings(system: System) -> int:
    return int(system.query("SELECT count() AS n FROM readings")[0]["n"])


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A system of this test alone, which leaves no process behind."""
    system = System.in_folder(tmp_path / "run", devices=DEVICES)
    yield system
    system.command("down")
    left = system.processes()
    for process in left:
        process.kill()
    assert left == []


def stopped(system: System, *lost: str) -> None:
    """Stops it and deletes what some parts have stored."""
    down = system.command("down")
    assert down.returncode == 0, down.stdout + down.stderr
    for part in lost:
        shutil.rmtree(system.run_dir / "data" / part)


def test_what_came_after_the_backup_is_brought_back_from_kafka(system: System) -> None:
    """Restored, the audit names what is missing; after a replay it is lost no more."""
    started(system)
    wait_for(lambda: readings(system) > 2 * DEVICES, "some readings to save")
    saved = module(system, "sensor_local.backup", "save", "--to", "nightly").stdout
    since = saved.split("make replay FROM=")[1].strip()
    then = readings(system)
    wait_for(lambda: readings(system) > then + 3 * DEVICES, "readings after the backup")
    stopped(system, "clickhouse", "redis")

    started(system, "kafka", "clickhouse")
    said = module(system, "sensor_local.backup", "restore", "--from", "nightly").stdout
    assert "the schema is up to date" in said
    restored = audit(system)
    assert restored["stored"] > 2 * DEVICES
    assert restored["lost"] > DEVICES
    stopped(system)

    started(system)
    module(system, "sensor_local.replay", "--from", since)
    after = audit(system)
    assert (after["lost"], after["duplicated"], after["different"]) == (0, 0, 0)
    assert after["received"] > restored["received"]
    # Redis fills itself: a device is there again with its next good reading.
    with Redis.from_url(system.endpoints["redis"]) as redis:
        wait_for(lambda: redis.zcard("devices:last_seen") > 0.8 * DEVICES, "the latest")


def test_a_new_kafka_takes_over_without_anything_else_to_do(system: System) -> None:
    """Topics are made anew; what was delivered before is safe, and new readings arrive."""
    started(system)
    wait_for(lambda: readings(system) > 2 * DEVICES, "some readings")
    stopped(system, "kafka")
    before = json.loads((system.run_dir / "account.json").read_text())
    assert before["in_flight"] == before["lost"] == 0

    started(system)
    wait_for(lambda: readings(system) > before["stored"] + 2 * DEVICES, "readings by the new one")
    after = audit(system)
    assert (after["lost"], after["duplicated"], after["different"]) == (0, 0, 0)
