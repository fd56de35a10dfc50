"""The prompt as a person or a script uses it."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import PASSWORD, PATIENCE, USER, ServerProcess

pytestmark = pytest.mark.integration
COMMAND = [sys.executable, "-m", "sensor_local.clickhouse.client", "--endpoints"]


@pytest.fixture
def endpoints(server: ServerProcess, database: str, tmp_path: Path) -> Path:
    file = tmp_path / "endpoints.json"
    headers = {
        "X-ClickHouse-User": USER,
        "X-ClickHouse-Key": PASSWORD,
        "X-ClickHouse-Database": database,
    }
    document = {"clickhouse": f"http://127.0.0.1:{server.port}", "clickhouse_headers": headers}
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def run(endpoints: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, str(endpoints), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_one_query_is_run_in_the_system_s_database(endpoints: Path, database: str) -> None:
    done = run(endpoints, "-q", "SELECT currentDatabase()")
    assert (done.returncode, done.stdout) == (0, f"{database}\n")


def test_a_script_shares_one_session_and_stops_at_the_first_error(endpoints: Path) -> None:
    script = "USE system; SELECT currentDatabase(), ';';\nSELECT nosuch;\nSELECT 3"
    done = run(endpoints, stdin=script)
    assert done.returncode == 1
    assert done.stdout == "system\t;\n"
    assert done.stderr.startswith("Code: 47. DB::Exception: ")
    assert "Traceback" not in done.stderr


def test_without_a_running_system_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "nothing.json", "-q", "SELECT 1")
    assert done.returncode == 1
    assert "is the system running?" in done.stderr


def test_at_a_terminal_a_statement_ends_with_a_semicolon(endpoints: Path) -> None:
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, str(endpoints)], stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    os.set_blocking(main, False)
    shown = b""
    deadline = time.monotonic() + PATIENCE

    def wait_for(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            assert time.monotonic() < deadline, shown
            try:
                shown += os.read(main, 65_536)
            except BlockingIOError:
                time.sleep(0.01)
        shown = shown.partition(text)[2]

    wait_for(b"clickhouse> ")
    os.write(main, b"SELECT 40 +\n")
    wait_for(b"... ")
    os.write(main, b"2 AS answer;\n")
    wait_for(b"answer")
    wait_for(b"42")
    os.write(main, b"SELECT nosuch;\n")
    wait_for(b"Code: 47")
    wait_for(b"clickhouse> ")
    os.write(main, b"quit\n")
    assert process.wait(PATIENCE) == 0
    os.close(main)
    assert "SELECT 40 +" in endpoints.with_name("clickhouse_history").read_text(encoding="utf-8")
