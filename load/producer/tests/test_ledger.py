"""The ledger's arithmetic, across restarts, and its twin in ClickHouse."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor_producer.account import Account, read_ledger
from sensor_producer.checksum import CHECKSUM_SQL, scramble
from sensor_producer.faults import Fault
from sensor_producer.fleet import Readings
from sensor_producer.ledger import Ledger
from sensor_producer.totals import Totals

MakeReadings = Callable[..., Readings]

IDS = ("temperature_sensor_000000", "humidity_sensor_000001", "pressure_sensor_000002")
MINUTE = 60_000
NOW = 29_000_000 * MINUTE
MASK = 2**64 - 1


def open_ledger(
    folder: Path, run: str, ids: tuple[str, ...] = IDS, hours: int = 48, now: int = NOW
) -> Ledger:
    return Ledger(folder, run, ids, hours=hours, clock_ms=lambda: now)


def int_hash_64(value: int) -> int:
    """ClickHouse's intHash64, written down once more with Python's integers."""
    value = (value ^ 0x4CF2D2BAAE6DA887) & MASK
    value ^= value >> 33
    value = value * 0xFF51AFD7ED558CCD & MASK
    value ^= value >> 33
    value = value * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ value >> 33


@given(st.lists(st.integers(0, 2**48), min_size=1))
def test_the_hash_is_clickhouses(timestamps: list[int]) -> None:
    """Values from the engine itself (26.9), then the same formula for any number."""
    known = {0: 4761183170873013810, 1: 10577349846663553072, 1764000000123: 10806970747844114482}
    assert scramble(np.array([*known])).tolist() == [*known.values()]
    assert scramble(np.array(timestamps)).tolist() == [int_hash_64(one) for one in timestamps]


@pytest.mark.integration
def test_clickhouse_computes_the_same_checksum() -> None:
    """The engine itself, in a process of its own: one of its kind is allowed per process."""
    timestamps = np.arange(NOW, NOW + 5_000, 7, dtype=np.int64)
    query = f"""
        SELECT {CHECKSUM_SQL} FROM (
            SELECT fromUnixTimestamp64Milli(toInt64({NOW} + number * 7), 'UTC') AS timestamp
            FROM numbers({len(timestamps)}))
    """  # noqa: S608 - numbers of our own
    program = "import chdb, sys; print(chdb.query(sys.argv[1], 'TSV'))"
    answer = subprocess.run(
        [sys.executable, "-c", program, query], capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) == int(scramble(timestamps).sum(dtype=np.uint64))


Batch = list[tuple[int, int, int]]  # device, minutes before NOW, fault
batches = st.lists(
    st.tuples(
        st.integers(0, len(IDS) - 1),
        st.integers(0, 6 * MINUTE),
        st.sampled_from([0, Fault.LATE, Fault.REPEATED, Fault.FAILED, Fault.SPIKE]),
    ),
    min_size=1,
    max_size=20,
)


def readings_of(batch: Batch) -> Readings:
    rows = len(batch)
    values = np.zeros(rows)
    device, before, faults = zip(*batch, strict=True)
    return Readings(
        device=np.array(device, dtype=np.int32),
        timestamp_ms=NOW - np.array(before, dtype=np.int64),
        temperature=values,
        humidity=values,
        pressure=values,
        status=np.zeros(rows, dtype=np.int8),
        faults=np.array(faults, dtype=np.uint16),
    )


def assert_account(account: Account, batches_: list[Batch]) -> None:
    """The account equals what counting one by one gives."""
    counts: defaultdict[tuple[int, str], int] = defaultdict(int)
    sums: defaultdict[tuple[int, str], int] = defaultdict(int)
    repeated = invalid = 0
    for device, before, fault in (reading for batch in batches_ for reading in batch):
        repeated += fault == Fault.REPEATED
        invalid += fault == Fault.FAILED
        if fault in (Fault.REPEATED, Fault.FAILED):
            continue
        key = ((NOW - before) // MINUTE * MINUTE, IDS[device])
        counts[key] += 1
        sums[key] = (sums[key] + int_hash_64(NOW - before)) & MASK
    found_counts, found_sums = {}, {}
    for start in account.minutes:
        minute = account.minute(start)
        for id_, count, checksum in zip(
            account.device_ids, minute.count.tolist(), minute.checksum.tolist(), strict=True
        ):
            if count:
                found_counts[start, id_] = count
                found_sums[start, id_] = checksum
    assert found_counts == dict(counts)
    assert found_sums == dict(sums)
    everything = sum(len(batch) for batch in batches_)
    assert account.totals() == Totals(everything, repeated, invalid)
    assert account.totals().distinct == sum(counts.values())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.tuples(batches, st.booleans()), max_size=6), min_size=1, max_size=3))
def test_runs_add_up_whatever_is_acknowledged_in_whichever_order(
    runs: list[list[tuple[Batch, bool]]],
) -> None:
    """Each run is a list of batches, with a flush in between now and then."""
    with TemporaryDirectory() as name:
        for number, steps in enumerate(runs):
            ledger = open_ledger(Path(name), f"run-{number}")
            for batch, flush in steps:
                ledger.add(readings_of(batch))
                if flush:
                    ledger.flush()
            ledger.close(unacknowledged=0)
        assert_account(read_ledger(Path(name)), [batch for run in runs for batch, _ in run])


def test_what_was_flushed_survives_a_kill(tmp_path: Path, make_readings: MakeReadings) -> None:
    ledger = open_ledger(tmp_path, "killed")
    ledger.add(make_readings([0, 1], [NOW, NOW]))
    ledger.flush()
    ledger.add(make_readings([0], [NOW + 1]))  # never flushed, never closed
    account = read_ledger(tmp_path)
    assert account.totals() == Totals(acknowledged=2)
    (run,) = account.runs
    assert run.ended_ms is None
    assert run.unacknowledged is None


def test_a_closed_run_says_when_it_ended_and_what_is_open(tmp_path: Path) -> None:
    open_ledger(tmp_path, "closed").close(unacknowledged=17)
    (run,) = read_ledger(tmp_path).runs
    assert (run.name, run.started_ms, run.ended_ms, run.unacknowledged) == ("closed", NOW, NOW, 17)


def test_a_late_reading_reopens_its_minute(tmp_path: Path, make_readings: MakeReadings) -> None:
    ledger = open_ledger(tmp_path, "run")
    ledger.add(make_readings([0], [NOW]))
    for minutes in range(1, 10):
        ledger.add(make_readings([0], [NOW + minutes * MINUTE]))
        ledger.flush()
    ledger.add(make_readings([0], [NOW + 5]))
    ledger.close(unacknowledged=0)
    assert read_ledger(tmp_path).minute(NOW).count.tolist() == [2, 0, 0]


def test_fleets_of_different_size_meet_by_device_id(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    small = open_ledger(tmp_path, "small", IDS[:1])
    small.add(make_readings([0], [NOW]))
    small.close(unacknowledged=0)
    large = open_ledger(tmp_path, "large", IDS[::-1], now=NOW + 1)
    large.add(make_readings([2, 0], [NOW + 1, NOW + 2]))
    large.close(unacknowledged=0)
    account = read_ledger(tmp_path)
    counts = dict(zip(account.device_ids, account.minute(NOW).count.tolist(), strict=True))
    assert counts == {IDS[0]: 2, IDS[1]: 0, IDS[2]: 1}
    assert [run.name for run in account.runs] == ["small", "large"]


def test_minutes_older_than_the_limit_are_deleted(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    old = open_ledger(tmp_path, "old")
    old.add(make_readings([0], [NOW - 90 * MINUTE]))
    old.close(unacknowledged=0)
    new = open_ledger(tmp_path, "new", hours=1)
    new.add(make_readings([0, 0], [NOW, NOW - 30 * MINUTE]))
    new.close(unacknowledged=0)
    assert read_ledger(tmp_path).minutes == (NOW - 30 * MINUTE, NOW)


def test_a_run_name_is_never_reused(tmp_path: Path) -> None:
    open_ledger(tmp_path, "run")
    with pytest.raises(FileExistsError):
        open_ledger(tmp_path, "run")


def test_no_ledger_reads_as_an_empty_account(tmp_path: Path) -> None:
    account = read_ledger(tmp_path / "nothing")
    assert (account.runs, account.device_ids, account.minutes) == ((), (), ())
    assert account.totals() == Totals()


def test_a_minute_that_is_not_on_record_is_zero(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    open_ledger(tmp_path, "run").close(unacknowledged=0)
    assert read_ledger(tmp_path).minute(NOW).count.tolist() == [0, 0, 0]
