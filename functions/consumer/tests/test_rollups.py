"""Rollups against a plain computation over the same readings, on the real ClickHouse."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest
from prometheus_client import REGISTRY

from sensor_consumer.marks import LateMarks
from sensor_consumer.rollups import HOLD_SECONDS, Rollups
from sensor_consumer.summaries import DAYS, HOURS, LEVELS, MINUTES, Level
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.readings import METRICS

from .conftest import batch_of, reading

pytestmark = pytest.mark.integration

Row = tuple[str, int, Decimal | None, Decimal | None, Decimal | None]
COLUMNS: Final = ("count", "sum", "min", "max", "last")


@pytest.fixture
async def database(clickhouse_server: Any) -> AsyncIterator[Database]:
    settings = {
        "port": clickhouse_server.port,
        "user": clickhouse_server.user,
        "password": clickhouse_server.password,
        "database": clickhouse_server.database(),
    }
    database = Database(ClickHouseSettings.model_validate(settings))
    yield database
    await database.close()


@pytest.fixture
def rollups(database: Database) -> Rollups:
    """Takes up marks of this very second too, so that tests need not wait."""
    return Rollups(database, late_minutes=200, hold=-1)


class Fleet:
    """Stores readings as the consumer does, and remembers what holds: the last word of each key."""

    def __init__(self, database: Database, seed: int = 0):
        self.readings: dict[tuple[str, int], Row] = {}
        self._database = database
        self._marks = LateMarks(database, clock=self._always_later)
        self._random = random.Random(seed)  # noqa: S311
        self._clock = 0.0

    def _always_later(self) -> float:
        self._clock += 3_600
        return self._clock

    def row(self, moment: int, device: int | None = None) -> Row:
        """Returns a reading of one of three devices; one value in four is missing."""
        number = self._random.randrange(3) if device is None else device
        temperature, humidity, pressure = (
            None
            if self._random.random() < 0.25
            else Decimal(self._random.randint(low, 99_999_999)) / 1_000
            for low in (-273_150, 0, 0)
        )
        return f"device-{number}", moment, temperature, humidity, pressure

    async def store(self, rows: Iterable[Row], *, marked: bool = True) -> None:
        """Inserts, then marks."""
        rows = list(rows)
        await self._database.insert_many(
            "readings",
            [
                {
                    "device_id": device,
                    "timestamp": datetime.fromtimestamp(moment / 1_000, UTC),
                    **dict(zip(METRICS, values, strict=True)),
                    "status": "active",
                }
                for device, moment, *values in rows
            ],
        )
        self.readings.update({row[:2]: row for row in rows})
        if marked:
            await self._marks.write(batch_of([reading(device, at) for device, at, *_ in rows]))

    def expected(self, level: Level) -> dict[tuple[str, int], tuple[Any, ...]]:
        """Summarises, one reading after the other."""
        groups: dict[tuple[str, int], list[Row]] = {}
        for row in sorted(self.readings.values(), key=lambda row: row[1]):
            period = row[1] // 1_000 // level.seconds * level.seconds
            groups.setdefault((row[0], period), []).append(row)
        return {key: _summary(rows) for key, rows in groups.items()}

    async def stored(self, level: Level) -> dict[tuple[str, int], tuple[Any, ...]]:
        """Reads the table of a level."""
        columns = ", ".join(f"{metric}_{column}" for metric in METRICS for column in COLUMNS)
        rows = await self._database.rows(
            f"SELECT device_id, toUnixTimestamp(time), readings, {columns} "  # noqa: S608
            f"FROM {level.table} FINAL"
        )
        return {(row[0], row[1]): row[2:] for row in rows}

    async def check(self) -> None:
        """Fails unless every level says what the readings say."""
        for level in LEVELS:
            assert await self.stored(level) == self.expected(level), level.table


def _summary(rows: list[Row]) -> tuple[Any, ...]:
    summary: list[Any] = [len(rows)]
    for index in range(2, 5):
        values = [value for row in rows if (value := row[index]) is not None]
        assert all(isinstance(value, Decimal) for value in values)
        summary += (
            [len(values), sum(values), min(values), max(values), values[-1]]
            if values
            else [0, Decimal(0), None, None, None]
        )
    return tuple(summary)


@pytest.fixture
def fleet(database: Database) -> Fleet:
    return Fleet(database)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def waiting() -> float | None:
    return REGISTRY.get_sample_value("sensor_rollup_minutes_waiting")


@pytest.mark.parametrize("seed", range(5))
async def test_rollups_say_what_the_readings_say_whatever_comes_when(
    database: Database, rollups: Rollups, seed: int
) -> None:
    """Late, repeated, corrected, with missing values, between runs of two replicas in any order."""
    dice = random.Random(seed)  # noqa: S311
    fleet = Fleet(database, seed)
    other = Rollups(database, late_minutes=200, hold=-1)
    ages = (5_000, 90_000, 600_000, 7_200_000, 3 * 86_400_000)
    await fleet.store([fleet.row(now_ms())])
    await rollups.tick()
    for _ in range(8):
        moments = [now_ms() - dice.randrange(dice.choice(ages)) for _ in range(20)]
        rows = [fleet.row(moment) for moment in moments]
        known = list(fleet.readings.values())
        again = dice.sample(known, min(len(known), 5))
        corrected = [
            (*row[:2], *fleet.row(0)[2:]) for row in dice.sample(known, min(len(known), 5))
        ]
        await fleet.store([*rows, *rows[:5]])
        if again:
            await fleet.store(again)
        if corrected:
            await fleet.store(corrected)
        for _ in range(dice.randrange(3)):
            await dice.choice((rollups, other)).tick()
        if dice.random() < 0.5:
            await asyncio.gather(rollups.tick(), other.tick())
    await rollups.tick()
    assert waiting() == 0
    await fleet.check()


@pytest.mark.parametrize("millisecond", [0, 1, 59_000, 59_499, 59_500, 59_999])
async def test_a_part_at_either_end_of_a_minute_is_not_left_out(
    database: Database, fleet: Fleet, rollups: Rollups, millisecond: int
) -> None:
    """The engine rounds a part's bounds when it compares them with whole seconds."""
    await fleet.store([fleet.row(now_ms())])
    await rollups.tick()
    minute = (now_ms() - 86_400_000) // 60_000 * 60_000
    await fleet.store([fleet.row(minute + millisecond)])
    await rollups.tick()
    await fleet.check()


async def test_redelivery_changes_nothing(
    database: Database, fleet: Fleet, rollups: Rollups
) -> None:
    start = now_ms()
    rows = [fleet.row(start - age) for age in (0, 1_000, 400_000, 4_000_000)]
    await fleet.store(rows)
    await rollups.tick()
    before = [await fleet.stored(level) for level in LEVELS]
    for _ in range(3):
        await fleet.store(rows)
        await rollups.tick()
    assert [await fleet.stored(level) for level in LEVELS] == before
    await fleet.check()


async def test_the_average_is_of_the_values_that_are_there(
    database: Database, fleet: Fleet, rollups: Rollups
) -> None:
    moment = now_ms() // 60_000 * 60_000
    await fleet.store(
        [
            ("a", moment, Decimal("20.5"), None, Decimal("1000.001")),
            ("a", moment + 1, None, None, Decimal("1000.002")),
        ]
    )
    await rollups.tick()
    rows = await database.rows(
        "SELECT temperature_avg, humidity_avg, pressure_avg FROM readings_minute FINAL"
    )
    assert rows == [(20.5, None, 1000.0015)]


async def test_a_first_run_takes_up_what_was_there_before_the_rollups(
    fleet: Fleet, rollups: Rollups
) -> None:
    """And what passed while no run was made: neither was marked."""
    await fleet.store([fleet.row(now_ms() - 3_000_000)], marked=False)
    await rollups.tick()
    await fleet.check()


async def test_what_passed_while_no_run_was_made_is_taken_up_without_marks(
    database: Database, fleet: Fleet, rollups: Rollups
) -> None:
    await fleet.store([fleet.row(now_ms() - 3_000_000)], marked=False)
    hours_ago = "INSERT INTO rollup_runs (begun_at) SELECT now64(3) - INTERVAL 1 HOUR"
    await database.rows(hours_ago)
    await rollups.tick()
    await fleet.check()


async def test_a_run_takes_up_so_many_late_minutes_the_newest_first_and_the_next_run_the_rest(
    database: Database, fleet: Fleet, rollups: Rollups
) -> None:
    await fleet.store([fleet.row(now_ms())])
    await rollups.tick()
    start = now_ms() // 60_000 * 60_000 - 7_200_000
    await fleet.store([fleet.row(start + 60_000 * number, 0) for number in range(10)])
    bounded = Rollups(database, late_minutes=4, hold=-1)
    await bounded.tick()
    assert waiting() == 6
    late = [at for _, at in await fleet.stored(MINUTES) if at * 1_000 < start + 3_600_000]
    assert sorted(late) == [start // 1_000 + 60 * number for number in range(6, 10)]
    await bounded.tick()
    await bounded.tick()
    assert waiting() == 0
    await fleet.check()


async def test_a_fresh_mark_waits_for_all_that_it_speaks_for(
    database: Database, fleet: Fleet
) -> None:
    await fleet.store([fleet.row(now_ms())])
    patient = Rollups(database, late_minutes=60)
    await patient.tick()
    await fleet.store([fleet.row(now_ms() - 3_600_000)])
    await patient.tick()
    assert waiting() == 1
    await database.rows(
        "INSERT INTO rollup_marks (minute, id, marked_at, done) "
        "SELECT minute, id, marked_at - {hold:UInt32}, 0 FROM rollup_marks FINAL",
        hold=HOLD_SECONDS + 1,
    )
    await patient.tick()
    assert waiting() == 0
    await fleet.check()


async def test_minutes_whose_raw_rows_are_leaving_stay_as_they_are(
    database: Database, fleet: Fleet, rollups: Rollups
) -> None:
    """The rest of a minute's raw rows must not replace what all of them said."""
    old = now_ms() - 90 * 86_400_000 + 1_800_000
    await fleet.store([fleet.row(now_ms())])
    await rollups.tick()
    await fleet.store([fleet.row(old)])
    await rollups.tick()
    assert old // 60_000 * 60 not in {at for _, at in await fleet.stored(MINUTES)}
    assert waiting() == 0


async def test_a_run_reads_the_parts_of_the_newest_minutes_and_not_the_history(
    database: Database, fleet: Fleet, rollups: Rollups
) -> None:
    await database.rows("SYSTEM STOP MERGES readings")
    now = now_ms()
    hour_ago = now - 3_600_000
    await fleet.store([fleet.row(hour_ago - i) for i in range(20_000)], marked=False)
    await fleet.store([fleet.row(now - i, 0) for i in range(100)])
    plan = await database.rows(
        "EXPLAIN ESTIMATE SELECT"
        + MINUTES.remake([now // 1_000 - 60, now // 1_000]).partition("SELECT")[2],
        after="",
        to="~",
    )
    (rows,) = [row[3] for row in plan if row[1] == "readings"]
    assert rows == 100
    ((everything,),) = await database.rows("SELECT count() FROM readings")
    assert everything == 20_100


async def test_hours_and_days_are_made_of_what_the_newest_minutes_touch_alone() -> None:
    noon = 1_800_000_000 // 86_400 * 86_400 + 12 * 3_600
    assert HOURS.remake([noon - 60, noon]).count(">=") == 1
    assert f"toDateTime64({noon - 3_600}, 3, 'UTC') AND time < toDateTime64({noon + 3_600}" in (
        HOURS.remake([noon - 60, noon])
    )
    assert DAYS.remake([noon, noon + 86_400 * 3]).count(">=") == 2


async def test_a_run_takes_the_devices_in_slices_and_leaves_none_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensor_consumer.rollups.SLICE_DEVICES", 2)
    now = now_ms()
    devices = [f"device-{number}" for number in range(7)]
    place = {"device_type": "x", "region": "", "updated_at": datetime.now(UTC)}
    await database.insert_many("devices", [{"device_id": id_, **place} for id_ in devices[1:6]])
    rows = [
        {
            "device_id": id_,
            "timestamp": datetime.fromtimestamp(now / 1_000, UTC),
            "status": "active",
        }
        for id_ in devices
    ]
    await database.insert_many("readings", rows)
    asked: dict[str, list[tuple[str, str]]] = {}
    ask = database.rows

    async def rows_of(sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        if "after" in parameters:
            table = sql.split()[2]
            asked.setdefault(table, []).append((parameters["after"], parameters["to"]))
        return await ask(sql, **parameters)

    monkeypatch.setattr(database, "rows", rows_of)
    await Rollups(database, late_minutes=1).tick()
    assert asked == {
        "readings_minute": [("", "device-2"), ("device-2", "device-4"), ("device-4", "~")],
        "readings_hour": [("", "device-4"), ("device-4", "~")],
        "readings_day": [("", "~")],
    }
    for table in asked:
        found = await ask(f"SELECT device_id, sum(readings) FROM {table} FINAL GROUP BY 1")  # noqa: S608
        assert sorted(found) == [(id_, 1) for id_ in devices]
