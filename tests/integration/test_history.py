"""What the gateway says of minutes, hours and days is what the readings say, at every moment.

The rollups are made by the consumer's own job, the answers by the gateway's own queries.
"""

import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pytest

from sensor_consumer.marks import LateMarks
from sensor_consumer.rollups import Rollups
from sensor_gateway.history.queries import Histories
from sensor_gateway.history.question import Asked, question
from sensor_gateway.rollups.coverage import Coverage
from sensor_gateway.rollups.resolution import PERIOD_MS, Resolution
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.readings import METRICS, SCHEMA

pytestmark = pytest.mark.integration

DAY_MS: Final = 86_400_000
MAX_DAYS: Final = dict.fromkeys(Resolution, 1_000)
LEVELS: Final[tuple[Asked, ...]] = ("minute", "hour", "day")
Values = list[Decimal | None]


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


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Device:
    """Stores readings of one device as the consumer does, and remembers what holds of each."""

    def __init__(self, database: Database, seed: int):
        self.readings: dict[int, Values] = {}
        self._database = database
        # Each mark is written: that one speaks for many is the consumer's own matter.
        self._marks = LateMarks(database, clock=iter(range(0, 10**9, 3_600)).__next__)
        self._random = random.Random(seed)  # noqa: S311

    def values(self) -> Values:
        return [
            None
            if self._random.random() < 0.3
            else Decimal(self._random.randint(low, 99_999_999)) / 1_000
            for low in (-273_150, 0, 0)
        ]

    async def store(self, readings: Iterable[tuple[int, Values]], *, marked: bool = True) -> None:
        rows = [
            {
                "device_id": "d",
                "timestamp": datetime.fromtimestamp(moment / 1_000, UTC),
                **dict(zip(METRICS, values, strict=True)),
                "status": "active",
            }
            for moment, values in readings
        ]
        await self._database.insert_many("readings", rows)
        self.readings.update(readings)
        if marked:
            keys = [{name: row.get(name) for name in SCHEMA.names} for row in rows]
            times = [{**key, **dict.fromkeys(METRICS)} for key in keys]
            await self._marks.write(pa.RecordBatch.from_pylist(times, SCHEMA))

    def expected(self, resolution: Resolution) -> list[dict[str, Any]]:
        """Summarises, one reading after the other."""
        groups: dict[int, list[Values]] = {}
        for moment in sorted(self.readings):
            start = moment // PERIOD_MS[resolution] * PERIOD_MS[resolution]
            groups.setdefault(start, []).append(self.readings[moment])
        return [
            {
                "timestamp": datetime.fromtimestamp(start / 1_000, UTC),
                "readings": len(rows),
                **{name: _statistics(rows, index) for index, name in enumerate(METRICS)},
            }
            for start, rows in sorted(groups.items())
        ]


def _statistics(rows: list[Values], index: int) -> dict[str, Any]:
    values = [value for row in rows if (value := row[index]) is not None]
    if not values:
        return {"count": 0, "min": None, "max": None, "avg": None, "last": None}
    return {
        "count": len(values),
        "min": min(values),
        "max": max(values),
        "avg": pytest.approx(float(sum(values)) / len(values)),
        "last": values[-1],
    }


async def answered(histories: Histories, resolution: Asked) -> list[dict[str, Any]]:
    """Reads all pages of the last ten days."""
    now, cursor, found = now_ms(), None, list[dict[str, Any]]()
    while True:
        asked = question(
            start_ms=None if cursor else now - 10 * DAY_MS,
            end_ms=None if cursor else now + 600_000,
            resolution=None if cursor else resolution,
            order="oldest",
            limit=1_000,
            points=None,
            cursor=cursor,
            now_ms=now,
            max_days=MAX_DAYS,
        )
        items = await histories.page("d", asked, METRICS)
        assert await histories.behind(asked) == 0
        for text in items[:1_000]:
            item = json.loads(text, parse_float=Decimal)
            item["timestamp"] = datetime.fromisoformat(item["timestamp"])
            for metric in METRICS:
                if item[metric]["avg"] is not None:
                    item[metric]["avg"] = float(item[metric]["avg"])
            found.append(item)
        if len(items) <= 1_000:
            return found
        raise AssertionError("the test stores fewer")


@pytest.mark.parametrize("seed", range(3))
async def test_minutes_hours_and_days_say_what_the_readings_say_whatever_came_when(
    database: Database, seed: int
) -> None:
    """Late, repeated, corrected, with missing values, before, between and after runs."""
    dice = random.Random(seed)  # noqa: S311
    device = Device(database, seed)
    rollups = Rollups(database, late_minutes=5, hold=-1)
    histories = Histories(database, Coverage(database, seconds=0))

    async def check() -> None:
        for resolution in LEVELS:
            assert await answered(histories, resolution) == device.expected(Resolution(resolution))

    await device.store([(now_ms(), device.values())])
    await check()  # no run was ever made
    for _ in range(6):
        if dice.random() < 0.6:
            await rollups.tick()
        ages = [dice.randrange(dice.choice((5_000, 600_000, 8 * DAY_MS))) for _ in range(15)]
        fresh = [(now_ms() - age, device.values()) for age in ages]
        known = dice.sample(sorted(device.readings), min(len(device.readings), 5))
        await device.store([*fresh, *fresh[:3]])
        await device.store([(moment, device.readings[moment]) for moment in known])
        await device.store([(moment, device.values()) for moment in known[:2]])
        await check()
    await Rollups(database, late_minutes=20_000, hold=-1).tick()
    await check()


async def test_where_the_rollups_are_right_they_are_what_is_read(database: Database) -> None:
    """Raw rows that nobody marked are not in the answer: only the rollups were asked."""
    device = Device(database, 1)
    rollups = Rollups(database, late_minutes=60, hold=-1)
    old = now_ms() // DAY_MS * DAY_MS - 2 * DAY_MS
    await device.store([(now_ms(), device.values())])
    await rollups.tick()
    await device.store([(old, device.values())])
    await rollups.tick()
    expected = {one: device.expected(Resolution(one)) for one in LEVELS}
    await device.store([(old + 1, device.values())], marked=False)
    histories = Histories(database, Coverage(database, seconds=0))
    for resolution in LEVELS:
        assert await answered(histories, resolution) == expected[resolution]


async def test_a_reading_that_came_late_shows_when_what_is_remembered_has_passed(
    database: Database,
) -> None:
    clock = [0.0]
    device = Device(database, 1)
    rollups = Rollups(database, late_minutes=60, hold=-1)
    histories = Histories(database, Coverage(database, seconds=1.0, clock=lambda: clock[0]))
    await device.store([(now_ms(), device.values())])
    await rollups.tick()
    before = await answered(histories, "minute")
    await device.store([(now_ms() - DAY_MS, device.values())])
    assert await answered(histories, "minute") == before
    clock[0] = 1.0
    assert await answered(histories, "minute") == device.expected(Resolution.MINUTE)


async def test_a_backlog_that_is_too_long_to_be_read_raw_is_said(database: Database) -> None:
    device = Device(database, 1)
    await device.store([(now_ms(), device.values())])
    await Rollups(database, late_minutes=60, hold=-1).tick()
    minute = now_ms() // 60_000 * 60_000 - DAY_MS
    await device.store([(minute + 120_000 * number, device.values()) for number in range(60)])
    histories = Histories(database, Coverage(database, seconds=0))
    asked = question(
        start_ms=minute - DAY_MS,
        end_ms=now_ms() + 600_000,
        resolution="minute",
        order="oldest",
        limit=None,
        points=None,
        cursor=None,
        now_ms=now_ms(),
        max_days=MAX_DAYS,
    )
    items = await histories.page("d", asked, METRICS)
    behind = await histories.behind(asked)
    # The newest stretches are read raw, one of which is that of the newest minutes.
    assert (behind, len(items)) == (11, 50)
