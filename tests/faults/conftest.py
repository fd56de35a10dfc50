"""One system for all faults, one after another, and the table at the end."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensor_local import ports

from .live import LiveSystem
from .proxy import Proxy
from .record import Record, table

DEVICES = 2_000
# Fewer and larger records than by default: a machine that does other work too keeps up with them.
FLEET = {"TWINUP_PRODUCER_COLLECT": "100ms"}
LOGS = Path(__file__).parents[2] / ".faults"
"""Where the system's logs are kept when a test has failed."""

# What a paused part must outlast is shorter here than by default, so that a pause may be.
TIMEOUTS = {
    "TWINUP_CLICKHOUSE_TIMEOUT": "5",
    "TWINUP_CLICKHOUSE_CONNECT_TIMEOUT": "2",
}

_RECORD = pytest.StashKey[Record]()


@pytest.fixture(scope="session")
def record(pytestconfig: pytest.Config) -> Record:
    return pytestconfig.stash.setdefault(_RECORD, Record())


@pytest.fixture(scope="session")
def clickhouse_port() -> int:
    return ports.choose({"TWINUP_PORTS": "auto"})["clickhouse"]


@pytest.fixture(scope="session")
def proxy(clickhouse_port: int) -> Iterator[Proxy]:
    """Between the consumer and ClickHouse."""
    with Proxy(clickhouse_port) as running:
        yield running


@pytest.fixture(scope="session")
def system(
    clickhouse_port: int,
    proxy: Proxy,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[LiveSystem]:
    plain = LiveSystem.in_folder(tmp_path_factory.mktemp("faults") / "run", DEVICES)
    addresses = {
        "TWINUP_PORTS_CLICKHOUSE": str(clickhouse_port),
        "TWINUP_ONLY_CONSUMER_CLICKHOUSE_PORT": str(proxy.port),
    }
    live = LiveSystem(plain.run_dir, {**plain.environ, **FLEET, **TIMEOUTS, **addresses})
    try:
        live.start()
        yield live
    finally:
        live.end()
        if request.session.testsfailed:
            shutil.copytree(live.run_dir / "logs", LOGS / f"{os.getpid()}")
            sys.stderr.write(f"the system's logs are in {LOGS / str(os.getpid())}\n")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    record = config.stash.get(_RECORD, None)
    if record is not None:
        terminalreporter.write_line(table(record))
