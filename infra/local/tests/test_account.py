"""Where the command for a lost password finds ClickHouse and Redis."""

import json
from pathlib import Path

import pytest

from sensor_local.account import environment
from sensor_local.failure import StartError


def test_it_is_led_to_what_runs_here(tmp_path: Path) -> None:
    endpoints = {
        "clickhouse": "http://127.0.0.1:18123",
        "clickhouse_headers": {
            "X-ClickHouse-User": "twinup",
            "X-ClickHouse-Key": "secret",
            "X-ClickHouse-Database": "twinup",
        },
        "redis": "redis://127.0.0.1:16379/0",
    }
    (tmp_path / "endpoints.json").write_text(json.dumps(endpoints))
    found = environment({"TWINUP_RUN_DIR": str(tmp_path)})
    assert found["TWINUP_CLICKHOUSE_PORT"] == "18123"
    assert found["TWINUP_CLICKHOUSE_PASSWORD"] == "secret"
    assert found["TWINUP_REDIS_PORT"] == "16379"


def test_variables_of_a_server_stay_as_they_are(tmp_path: Path) -> None:
    given = {"TWINUP_RUN_DIR": str(tmp_path), "TWINUP_CLICKHOUSE_HOST": "db.example.com"}
    assert environment(given) == given


def test_without_either_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="make up"):
        environment({"TWINUP_RUN_DIR": str(tmp_path)})
