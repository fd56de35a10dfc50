"""Which minutes are marked for the rollups, and when a run is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from sensor_consumer.delivery import Delivery
from sensor_consumer.marks import COVERS_SECONDS, LateMarks, MarkedTables
from sensor_consumer.rollups import is_tick
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.events import PING, READINGS_V1, Event
from sensor_shared.testing.parts import Lines

from .conftest import Deployed, batch_of, now_ms, reading

NOW = 1_800_000_000  # a full minute
TICK = {"task": "rollup"}


class Shelf:
    """Keeps what is inserted, in order; tables and marks alike."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.fails = False

    async def insert_many(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if self.fails:
            raise ConnectionError
        self.done.append((table, [row["minute"] - NOW for row in rows]))

    async def write(self, group: Sequence[Delivery], token: str) -> pa.RecordBatch:
        self.done.append(token)
        return pa.concat_batches([delivery.batch for delivery in group])

    async def without_stored(
        self, old: Sequence[Delivery], doubtful: Sequence[Delivery]
    ) -> list[Delivery]:
        return [*old, *doubtful][:0]

    async def keep(self, deliveries: Sequence[Delivery]) -> None:
        raise AssertionError(f"nothing to keep of {len(deliveries)}")


def batch(*ages: float) -> pa.RecordBatch:
    """Returns a reading for each age, in seconds before NOW."""
    return batch_of([reading("a", int((NOW - age) * 1_000)) for age in ages])


def delivery(*ages: float) -> Delivery:
    return Delivery(Event("1", "/tests", READINGS_V1, b""), batch(*ages), [], NOW * 1_000)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_each_minute_that_ended_long_enough_ago_is_marked_once(shelf: Shelf) -> None:
    marks = LateMarks(shelf, now=lambda: float(NOW))
    await marks.write(batch(-200, 0, 1, 59.9, 60, 60.001, 61, 119, 3_600, 3_601))
    # NOW is a full minute: that which ended at NOW - 60 s is the newest late one.
    assert shelf.done == [("rollup_marks", [-3_660, -3_600, -120])]


@pytest.mark.parametrize(("now", "marked"), [(NOW + 29.9, False), (NOW + 30.0, True)])
async def test_a_minute_is_late_half_a_minute_after_its_end(
    shelf: Shelf, now: float, marked: bool
) -> None:
    await LateMarks(shelf, now=lambda: now).write(batch(0.001, 0))
    assert shelf.done == ([("rollup_marks", [-60])] if marked else [])


async def test_a_mark_speaks_for_what_follows_for_a_short_while(shelf: Shelf) -> None:
    clock = 100.0
    marks = LateMarks(shelf, now=lambda: float(NOW), clock=lambda: clock)
    await marks.write(batch(600))
    clock += COVERS_SECONDS - 0.1
    await marks.write(batch(600, 660))
    clock += 0.1
    await marks.write(batch(600, 660))
    assert shelf.done == [
        ("rollup_marks", [-600]),
        ("rollup_marks", [-660]),
        ("rollup_marks", [-600]),
    ]


async def test_a_mark_that_was_not_written_speaks_for_nothing(shelf: Shelf) -> None:
    marks = LateMarks(shelf, now=lambda: float(NOW), clock=lambda: 0.0)
    shelf.fails = True
    with pytest.raises(ConnectionError):
        await marks.write(batch(600))
    shelf.fails = False
    await marks.write(batch(600))
    assert shelf.done == [("rollup_marks", [-600])]


async def test_marks_are_written_after_the_rows_and_for_rows_that_were_there_already(
    shelf: Shelf,
) -> None:
    tables = MarkedTables(shelf, LateMarks(shelf, now=lambda: float(NOW)))
    assert (await tables.write([delivery(600)], "token")).num_rows == 1
    assert await tables.without_stored([delivery(1_200)], [delivery(10)]) == []
    assert shelf.done == ["token", ("rollup_marks", [-600]), ("rollup_marks", [-1_200])]


@pytest.mark.parametrize(
    ("kind", "data", "answer"),
    [
        (PING, b'{"task": "rollup"}', True),
        (PING, b'{"task": "region-summary"}', False),
        (PING, b"[]", False),
        (PING, b"\xff{", False),
        (READINGS_V1, b'{"task": "rollup"}', False),
    ],
)
def test_only_the_task_of_a_tick_asks_for_a_run(kind: str, data: bytes, answer: bool) -> None:
    assert is_tick(Event("1", "/tests", kind, data)) is answer


@pytest.mark.integration
async def test_a_tick_brings_the_rollups_up_to_date_and_late_readings_are_marked(
    consumer: Deployed, database: Database, device: str
) -> None:
    late = now_ms() - 3_600_000
    assert (await consumer.send([reading(device), reading(device, late)])).status_code == 202
    assert (await consumer.send(TICK, kind=PING)).status_code == 202
    days = "SELECT sum(readings) FROM readings_{} FINAL"
    for table in ("minute", "hour", "day"):
        # A first run marks all there is, and takes up the newest sixty minutes of that.
        assert await database.rows(days.format(table)) == [(2,)]
    marked = await database.rows(
        "SELECT toUnixTimestamp(minute) FROM rollup_marks FINAL WHERE done = 0"
    )
    assert (late // 60_000 * 60,) in marked


@pytest.mark.integration
async def test_a_tick_while_clickhouse_is_away_is_to_come_again(
    consumer: Deployed, lines: Lines, device: str
) -> None:
    assert (await consumer.send(reading(device))).status_code == 202
    await lines.clickhouse.cut()
    assert (await consumer.send(TICK, kind=PING)).status_code == 503
    await lines.clickhouse.mend()
