"""The audit's command: its two forms, its exit statuses, and what it says when it cannot tell."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from sensor_local.audit import Audit, elsewhere
from sensor_local.audit.command import audit_system, main
from sensor_local.folder import RunFolder

from .flow import CONSUMER, Flow

GOOD = Audit(9, 6, 1, 2, 0, 0, 0, 0, 0, runs=1, minutes=1, at="2026-11-24T02:57:59.938Z")
BAD = Audit(9, 5, 1, 2, 0, 0, 1, 0, 0, runs=1, minutes=1, at="2026-11-24T02:57:59.938Z")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.make()
    return folder


@pytest.fixture
def environ(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment that names the flow's parts."""
    for name, value in {
        "CLICKHOUSE_HOST": flow.clickhouse.host,
        "CLICKHOUSE_PORT": flow.clickhouse.port,
        "CLICKHOUSE_USER": flow.clickhouse.user,
        "CLICKHOUSE_PASSWORD": flow.clickhouse.password.get_secret_value(),
        "CLICKHOUSE_DATABASE": flow.clickhouse.database,
        "KAFKA_BROKERS": flow.kafka.brokers,
        "KAFKA_TOPIC": flow.kafka.topic,
        "KAFKA_GROUP": flow.kafka.group,
    }.items():
        monkeypatch.setenv(f"TWINUP_{name}", str(value))
    return monkeypatch


async def command(flow: Flow, *words: str) -> int:
    # In a thread: it runs an event loop of its own.
    return await asyncio.to_thread(main, ["--ledger", str(flow.folder), *words])


@pytest.mark.integration
@pytest.mark.usefixtures("environ")
async def test_the_status_is_1_when_something_is_lost_and_else_0(
    flow: Flow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.receive(flow.rows)
    await flow.store(flow.rows[1:])
    assert await command(flow) == 1
    assert capsys.readouterr().out.endswith("lost 1, duplicated 0\n")
    await flow.store(flow.rows[:1])
    kept = tmp_path / "account.json"
    assert await command(flow, "--json", "--keep", str(kept)) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(kept.read_text())
    assert document["received"] == document["stored"] == 30
    assert set(document) == {
        *("received", "stored", "duplicate", "rejected", "dead_lettered", "in_flight", "lost"),
        *("duplicated", "different", "runs", "minutes", "at"),
    }


@pytest.mark.integration
async def test_the_status_is_2_when_a_part_does_not_answer(
    flow: Flow, environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.receive(flow.rows)
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        await nobody_answers(flow, environ, bound.getsockname()[1], capsys)


async def nobody_answers(
    flow: Flow, environ: pytest.MonkeyPatch, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with environ.context() as away:
        away.setenv("TWINUP_CLICKHOUSE_PORT", str(port))
        assert await command(flow) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "cannot tell: ClickHouse does not answer" in said.err
    environ.setattr(elsewhere, "_PATIENCE_SECONDS", 0.0)
    environ.setenv("TWINUP_KAFKA_BROKERS", f"127.0.0.1:{port}")
    assert await command(flow) == 2
    assert "cannot tell: Kafka does not answer" in capsys.readouterr().err


@pytest.mark.integration
async def test_a_wrong_setting_is_said_with_status_2(
    flow: Flow, environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ.setenv("TWINUP_CLICKHOUSE_PORT", "9000")
    assert await command(flow) == 2
    assert "8123" in capsys.readouterr().err


@pytest.mark.integration
async def test_a_running_system_is_found_by_its_run_folder(
    flow: Flow, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.receive(flow.rows)
    flow.folder.rename(run.ledger / "moved")  # the folder of all runs is the run folder's
    for one in (run.ledger / "moved").iterdir():
        one.rename(run.ledger / one.name)
    (run.ledger / "moved").rmdir()
    await flow.store(flow.rows)
    run.endpoints = {
        "kafka": flow.kafka.brokers,
        "clickhouse": f"http://{flow.clickhouse.host}:{flow.clickhouse.port}",
        "clickhouse_headers": {
            "X-ClickHouse-User": flow.clickhouse.user,
            "X-ClickHouse-Key": flow.clickhouse.password.get_secret_value(),
            "X-ClickHouse-Database": flow.clickhouse.database,
        },
        "consumer": CONSUMER,
    }
    later = flow.start_ms / 1000 + 1
    run.processes = {"supervisor": {"pid": 1, "created": later}, "processes": []}
    assert await asyncio.to_thread(audit_system, run, as_json=False, everything=True) == 0
    assert "received 30 = stored 30" in capsys.readouterr().out
    assert await asyncio.to_thread(audit_system, run, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 0  # that run began before the system


@pytest.mark.parametrize(("account", "status"), [(GOOD, 0), (BAD, 1)])
def test_when_nothing_runs_it_shows_the_last_account(
    run: RunFolder, account: Audit, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run.account_file.write_text(account.to_json())
    assert audit_system(run, as_json=True) == status
    said = capsys.readouterr()
    assert Audit.from_json(said.out) == account
    assert "the system does not run; this is its last account, of 2026-11-24" in said.err


def test_without_system_and_account_it_cannot_tell(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit_system(run, as_json=False) == 2
    assert "the system does not run" in capsys.readouterr().err


def test_a_system_without_kafka_cannot_be_audited(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run.endpoints = {"clickhouse": "http://127.0.0.1:1", "clickhouse_headers": {}}
    assert audit_system(run, as_json=False) == 2
    assert "runs without kafka" in capsys.readouterr().err


def test_the_line_and_the_status_tell_each_fault() -> None:
    assert (GOOD.status, BAD.status) == (0, 1)
    changed = Audit(1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, "now")
    doubled = Audit(1, 1, 0, 0, 0, 0, 0, 4, 0, 1, 1, "now")
    assert (changed.status, doubled.status) == (1, 1)
    assert str(doubled).endswith("; lost 0, duplicated 4")
    assert str(BAD) == (
        "audit: received 9 = stored 5 + duplicate 1 + rejected 2 + dead-lettered 0 + in flight 0"
        " + lost 1; lost 1, duplicated 0"
    )
