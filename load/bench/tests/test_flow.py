"""What the benchmark says about its figures, without any system."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from load.bench.flow import meter, pace, report
from load.bench.flow.baseline import compare, per_million
from load.bench.flow.gateway import Oracle
from load.bench.flow.holding import Backlog, Held
from load.bench.flow.limits import highest
from load.bench.flow.machine import machine, versions
from load.bench.flow.plain import block
from load.bench.flow.steady import of_samples
from sensor_producer.devices import make_devices
from sensor_producer.dice import Dice
from sensor_producer.faults import Fault, FaultSettings
from sensor_producer.fleet import Fleet
from sensor_shared.contracts.readings import SCHEMA

ROOT = Path(__file__).parents[3]


def held(asked: float, stored: float, **cores: float) -> Held:
    return Held(asked, True, asked, stored, 0.1, 0.0, 500, 30.0, cores)


@given(st.floats(1_000, 1_000_000), st.floats(1_000, 1_000_000))
def test_the_highest_rate_is_found_from_any_guess(limit: float, guess: float) -> None:
    tried: list[float] = []

    def attempt(rate: float) -> tuple[bool, float]:
        tried.append(rate)
        return rate <= limit, min(rate, limit)

    found = highest(attempt, guess, 60)
    assert found is not None
    assert limit / 1.0601 <= found <= limit
    assert len(set(tried)) == len(tried)


def test_no_rate_is_found_where_none_holds() -> None:
    assert highest(lambda rate: (False, rate / 2), 100_000, 4) is None


def test_the_search_ends_with_its_tries() -> None:
    tried: list[float] = []

    def attempt(rate: float) -> tuple[bool, float]:
        tried.append(rate)
        return True, rate

    assert highest(attempt, 100.0, 3) == tried[-1]
    assert tried == pytest.approx([100, 130, 169])


SECONDS = [float(second) for second in range(1, 31)]


@pytest.mark.parametrize(
    ("backlog", "offered", "holds"),
    [
        ([500.0] * 30, 10_000, True),
        ([500.0 + 50 * second for second in SECONDS], 10_000, True),  # half a percent
        ([500.0 + 150 * second for second in SECONDS], 10_000, False),
        ([*[500.0] * 14, 10_500, *[500.0] * 15], 10_000, False),
        ([500.0] * 30, 9_700, False),  # the load did not come
    ],
)
def test_a_rate_is_held_while_its_backlog_stays(
    backlog: list[float], offered: float, holds: bool
) -> None:
    assert Backlog(SECONDS, backlog, offered).held(10_000) is holds


def test_the_ratio_is_that_of_cpu_per_reading() -> None:
    ratios = compare(
        {"dispatcher": 0.1, "consumer": 0.3, "redis": 0.2, "clickhouse": 0.5},
        100_000,
        {"plain": 0.15, "clickhouse": 0.25},
        50_000,
    )
    assert ratios == pytest.approx(
        {
            "cpu_per_million_readings": 1.375,
            "without_clickhouse": 2.0,
            "without_clickhouse_and_redis": 4 / 3,
            "clickhouse_alone": 1.0,
        }
    )
    assert per_million(0.6, 100_000) == pytest.approx(6.0)


def test_quantiles_of_samples_and_of_none() -> None:
    assert of_samples([float(value) for value in range(101)]) == {
        "p50": 50.0,
        "p99": 99.0,
        "p999": 99.9,
    }
    assert of_samples([]) == {"p50": None, "p99": None, "p999": None}


def results(**steady: Any) -> dict[str, Any]:
    return {
        "steady": {
            "readings_per_second": 9_980.0,
            "stored_ms": {"p50": 28.0, "p99": 75.0, "p999": None},
            "cpu_cores": {"kafka": 0.1, "consumer": 0.25},
            "cpu_cores_total": 0.35,
            "rss_mb": {"kafka": 180.0, "consumer": 220.0},
            "rss_mb_total": 400.0,
            "pss_mb_total": 380.0,
            "lost": 0,
            "duplicated": 3,
            "pace": {
                "before": {"python_ms": 131.2, "python_all_cores_ms": 140.0, "memory_ms": 12.0},
                "after": {"python_ms": 187.0, "python_all_cores_ms": 211.4, "memory_ms": 20.0},
            },
            **steady,
        },
        "max": {"arrow": 120_000, "json": None, "single": 2_499},
        "baseline": {"cpu_cores": {"plain": 0.1}, "path": held(1e5, 1e5, consumer=0.3).as_json()},
        "ratio": {"cpu_per_million_readings": 2.5},
        "bytes_per_reading": 4.9,
        "details": {
            "max": {
                "arrow": {"best": held(1e5, 1e5, consumer=0.8).as_json(), "tried": []},
                "json": {"best": None, "tried": []},
            }
        },
    }


def test_every_mark_that_is_missed_is_named() -> None:
    assert [mark.path for mark in report.misses(results())] == [
        "steady.stored_ms.p99",
        "steady.duplicated",
        "max.single",
    ]


def test_the_report_shows_each_figure_with_its_verdict() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(report.tables(results()))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()

    def line(start: str) -> str:
        return next(line for line in lines if start in line)

    assert "MISSED, 25% above" in line("steady: stored p99 ")
    assert "met, 20% below" in line("steady: stored p50")
    assert "met, 20% above" in line("max: arrow")
    assert "not measured" in line("max: json")
    assert "MISSED by 3" in line("steady: duplicated")
    assert "met, just" in line("CPU per reading")
    assert "3 missed" in line("missed:")
    assert "400 (PSS 380)" in "".join(lines)
    assert "131 ms" in line("pace before steady")
    assert "187 ms" in line("pace after steady")
    assert "211 ms" in line("pace after steady")


def test_a_report_of_one_piece_shows_the_rest_as_not_measured() -> None:
    nothing = dict.fromkeys(("steady", "max", "baseline", "ratio", "bytes_per_reading"))
    console = Console(file=io.StringIO(), width=140)
    console.print(report.tables({**nothing, "details": {}}))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("not measured") == len(report.PASS_MARKS)


def test_the_pace_is_that_of_work_that_always_is_the_same() -> None:
    found = pace.pace()
    assert found.keys() == {"python_ms", "python_all_cores_ms", "memory_ms"}
    assert all(took > 0 for took in found.values())
    assert f"{found['python_ms']:.0f} ms" in pace.words(found)


def test_the_file_is_the_results_as_json(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    report.write(results(), path)
    assert json.loads(path.read_text()) == results()
    assert [one.name for one in path.parent.iterdir()] == ["latest.json"]


def test_what_was_measured_on_names_no_machine_and_no_folder() -> None:
    text = json.dumps([machine(), versions()])
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
    assert os.uname().nodename not in text
    assert versions()["kafka"].split(".")[0].isdigit()
    assert machine()["cores"] >= 1


def test_a_process_with_a_name_of_its_own_is_not_counted_with_its_parent() -> None:
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(words) as one, subprocess.Popen(words) as two:
        try:
            me = os.getpid()
            alone = meter.memory({"me": me, "one": one.pid, "two": two.pid})
            together = meter.memory({"me": me})
            assert together["me"].rss_mb > alone["me"].rss_mb
            assert alone["one"].rss_mb > 0
            found = meter.sample({"me": me, "one": one.pid})
            assert found.cpu["me"] > 0
        finally:
            one.kill()
            two.kill()
    assert "one" not in meter.sample({"one": one.pid}).cpu


def test_cores_are_cpu_seconds_per_second_of_those_that_lived_on() -> None:
    before = meter.Sample(10.0, {"consumer": 5.0, "ended": 1.0})
    after = meter.Sample(20.0, {"consumer": 8.0, "new": 1.0})
    assert meter.cores(before, after) == {"consumer": pytest.approx(0.3)}


def test_memory_of_this_process_is_told() -> None:
    found = meter.memory({"me": os.getpid()})["me"]
    assert found.rss_mb >= psutil.Process().memory_info().rss / 2**20 / 2
    assert found.pss_mb is None or 0 < found.pss_mb <= found.rss_mb + 1


def test_the_oracle_names_a_reading_that_the_fleet_will_send() -> None:
    faults = FaultSettings(failed=0.3, silent=0.3)
    devices = make_devices(200, 7)
    fleet = Fleet(devices, Dice(7, 200), 1.0, faults)
    now_us = 1_790_000_000_123_456
    measured = fleet.measure(fleet.moments(now_us), fleet.moments(now_us + 3_000_000))
    good = measured[~measured.suffering(Fault.FAILED)]
    first = Oracle(fleet, devices).after(now_us)
    assert first.device_id == devices.ids[good.device[0]]
    assert first.moment_ms == good.timestamp_ms[0]


def stream(*timestamps: int) -> bytes:
    rows = [
        {
            "device_id": "weather_station_000001",
            "timestamp": timestamp,
            "temperature": 20.01,
            "humidity": None,
            "pressure": 1013.25,
            "status": "active",
        }
        for timestamp in timestamps
    ]
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def test_the_plain_process_joins_records_into_the_columns_of_the_table() -> None:
    data, count = block([stream(1, 2), stream(3)])
    table = pa.ipc.open_stream(data).read_all()
    assert count == table.num_rows == 3
    assert table.column_names == [
        "device_id",
        "timestamp",
        "temperature",
        "humidity",
        "pressure",
        "status",
    ]
    assert [str(value) for value in table.column("temperature").to_pylist()] == ["20.010"] * 3
    assert table.column("humidity").null_count == 3
