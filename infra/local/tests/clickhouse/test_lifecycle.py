"""Start, stop and death of the process."""

import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import PATIENCE, ServerProcess, free_port, launch

pytestmark = pytest.mark.integration

Start = Callable[..., ServerProcess]
CREATE = (
    "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a "
    "SETTINGS non_replicated_deduplication_window = 100"
)


def test_acknowledged_rows_and_tokens_survive_a_kill(start_server: Start, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    server.sql(CREATE)
    for number in range(50):
        server.sql(f"INSERT INTO t FORMAT CSV\n{number}\n", insert_deduplication_token=str(number))
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL

    again = start_server(tmp_path)
    assert again.sql("SELECT count(), sum(a) FROM t") == "50\t1225\n"
    again.sql("INSERT INTO t FORMAT CSV\n7\n", insert_deduplication_token="7")
    assert again.sql("SELECT count() FROM t") == "50\n"
    assert again.stop() == 0


def test_a_stop_lets_running_queries_end(start_server: Start, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    results: list[str] = []
    running = threading.Event()

    def query() -> None:
        running.set()
        results.append(server.sql("SELECT sum(sleepEachRow(0.1)) + 1 FROM numbers(10)"))

    thread = threading.Thread(target=query)
    thread.start()
    running.wait(PATIENCE)
    while server.sql("SELECT count() FROM system.processes") == "1\n" and not results:
        pass
    assert server.stop() == 0
    thread.join(PATIENCE)
    assert results == ["1\n"]


def test_a_stop_does_not_wait_for_ever(start_server: Start, tmp_path: Path) -> None:
    server = start_server(tmp_path, "--stop-timeout", "1")
    replies: list[object] = []

    def query() -> None:
        sql = b"SELECT sum(sleepEachRow(1)) FROM numbers(3000) SETTINGS max_block_size = 1"
        try:
            replies.append(server.send(sql))
        except OSError as error:
            replies.append(error)

    thread = threading.Thread(target=query)
    thread.start()
    while server.sql("SELECT count() FROM system.processes") == "1\n":
        pass
    assert server.stop() == 0
    thread.join(PATIENCE)
    assert len(replies) == 1


def test_a_folder_has_one_server_at_a_time(start_server: Start, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    second = launch(tmp_path, free_port())
    _, output = second.communicate(timeout=PATIENCE)
    assert second.returncode == 1
    assert b"is in use by another server" in output
    assert str(server.process.pid).encode() in output
    assert b"Traceback" not in output


def test_without_a_password_it_does_not_start(tmp_path: Path) -> None:
    process = launch(tmp_path, free_port(), password=None)
    _, output = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert b"there is no password" in output


def test_the_password_is_not_in_the_list_of_processes(server: ServerProcess) -> None:
    shown = subprocess.run(
        ["ps", "-o", "args=", "-p", str(server.process.pid)], capture_output=True, check=True
    )
    assert b"sensor_local.clickhouse" in shown.stdout
    assert server.auth["X-ClickHouse-Key"].encode() not in shown.stdout


@pytest.mark.integration
def test_backups_go_to_their_folder_and_without_one_they_are_refused(
    start_server: Start, server: ServerProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "back ups = 50%41"
    own = start_server(tmp_path / "data", "--backups", str(folder))
    own.sql("CREATE DATABASE kept")
    assert "BACKUP_CREATED" in own.sql("BACKUP DATABASE kept TO File('one')")
    assert (folder / "one" / ".backup").is_file()
    assert own.stop() == 0
    refused = server.send(b"BACKUP DATABASE default TO File('one')")
    assert refused.status != 200
    assert b"backups.allowed_path" in refused.body
