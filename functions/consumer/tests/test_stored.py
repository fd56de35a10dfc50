"""What of an event is stored already, asked of the real ClickHouse, and how often it is asked."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sensor_consumer import minutes
from sensor_consumer.delivery import Delivery
from sensor_consumer.minutes import MINUTE_MS, StoredMinutes
from sensor_consumer.stored import StoredRows
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.events import READINGS_V1, REPLAYED, Event, new_id
from sensor_shared.contracts.readings import Reject

from .conftest import batch_of, now_ms, reading

pytestmark = pytest.mark.integration

BEGIN = (now_ms() // MINUTE_MS - 60) * MINUTE_MS
"""An hour ago, the begin of a minute."""


class Counted:
    """The database, and how often it was asked for readings."""

    def __init__(self, database: Database):
        self._database = database
        self.questions = 0
        self.answered = asyncio.Event()
        self.answering = asyncio.Event()
        self.answering.set()

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        self.questions += "FROM readings" in sql
        rows = await self._database.rows(sql, **parameters)
        self.answered.set()
        await self.answering.wait()
        return rows

    async def has(self, *keys: tuple[str, int]) -> None:
        for device, moment in keys:
            await self._database.rows(
                "INSERT INTO readings (device_id, timestamp) "
                "SELECT {device:String}, fromUnixTimestamp64Milli({moment:Int64})",
                device=device,
                moment=moment,
            )


@pytest.fixture
def counted(database: Database) -> Counted:
    return Counted(database)


def event(*keys: tuple[str, int], rejects: int = 0, replay: str = "") -> Delivery:
    rejected = [Reject(at, "invalid_json", "", "", b"?") for at in range(rejects)]
    readings = [reading(device, moment) for device, moment in keys]
    sent = Event(new_id(), "/tests", READINGS_V1, b"", extensions={REPLAYED: replay})
    return Delivery(sent, batch_of(readings), rejected, 0)


def left(rest: Sequence[Delivery]) -> list[list[int]]:
    """Returns what is left of each event, in milliseconds since `BEGIN`."""
    return [
        [int(moment.timestamp() * 1000) - BEGIN for moment in one.batch["timestamp"].to_pylist()]
        for one in rest
    ]


async def test_old_events_of_the_same_minutes_are_asked_for_once(counted: Counted) -> None:
    clock = 0.0
    stored = StoredRows(counted, StoredMinutes(counted, seconds=10, clock=lambda: clock))
    await counted.has(("a", BEGIN), ("a", BEGIN + 2_000), ("b", BEGIN + 59_999))
    counted.questions = 0
    for second, expected in ((0, []), (1, [1_000]), (2, []), (3, [3_000])):
        rest = await stored.leave_out([event(("a", BEGIN + second * 1_000))], [])
        assert left(rest) == [expected]
    assert counted.questions == 1
    both = event(("b", BEGIN + 59_999), ("b", BEGIN + 60_000), ("a", BEGIN + 4_000))
    assert left(await stored.leave_out([both], [])) == [[60_000, 4_000]]
    assert counted.questions == 3  # two minutes of another device
    both = event(("b", BEGIN + 60_001), ("b", BEGIN + 59_999), ("a", BEGIN))
    assert left(await stored.leave_out([both], [])) == [[60_001]]
    assert counted.questions == 3
    clock = 10.0
    await counted.has(("a", BEGIN + 1_000))
    assert left(await stored.leave_out([event(("a", BEGIN + 1_000))], [])) == [[]]


async def test_what_somebody_may_be_storing_is_asked_for_anew(counted: Counted) -> None:
    stored = StoredRows(counted, StoredMinutes(counted))
    old, doubtful = event(("a", BEGIN + 5_000)), event(("a", BEGIN + 1_000), ("b", BEGIN))
    assert left(await stored.leave_out([old], [doubtful])) == [[5_000], [1_000, 0]]
    await counted.has(("a", BEGIN + 5_000), ("a", BEGIN + 1_000))
    assert left(await stored.leave_out([old], [doubtful])) == [[5_000], [0]]


async def test_readings_of_many_minutes_are_not_asked_for_by_minute(counted: Counted) -> None:
    stored = StoredRows(counted, StoredMinutes(counted))
    keys = [("a", BEGIN + minute * MINUTE_MS) for minute in range(40)]
    await counted.has(*keys[:20])
    counted.questions = 0
    (rest,) = left(await stored.leave_out([event(*keys)], []))
    assert rest == [minute * MINUTE_MS for minute in range(20, 40)]
    assert counted.questions == 1


async def test_another_replay_asks_anew(counted: Counted) -> None:
    stored = StoredRows(counted, StoredMinutes(counted))
    await counted.has(("a", BEGIN))
    counted.questions = 0
    for replay, questions in (("one", 1), ("one", 1), ("another", 2)):
        assert left(await stored.leave_out([event(("a", BEGIN), replay=replay)], [])) == [[]]
        assert counted.questions == questions


async def test_events_without_any_reading_have_nothing_that_is_stored(counted: Counted) -> None:
    stored = StoredRows(counted, StoredMinutes(counted))
    (rest,) = await stored.leave_out([event(rejects=2)], [])
    assert (rest.batch.num_rows, len(rest.rejects)) == (0, 2)


async def test_what_is_asked_while_all_is_forgotten_is_not_remembered(counted: Counted) -> None:
    known = StoredMinutes(counted)
    counted.answering.clear()
    asking = asyncio.create_task(known.among([("a", BEGIN)]))
    await counted.answered.wait()
    known.clear()
    counted.answering.set()
    assert await asking == set()
    await counted.has(("a", BEGIN))
    assert await known.among([("a", BEGIN)]) == {("a", BEGIN)}


async def test_only_so_much_is_remembered(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minutes, "_MOST", 5)
    known = StoredMinutes(counted)
    keys = [(f"device-{number}", BEGIN) for number in range(8)]
    await counted.has(*keys[:4])
    counted.questions = 0
    for questions in (1, 2):  # more at once than is kept
        assert await known.among(keys) == set(keys[:4])
        assert counted.questions == questions
    assert sum(known.questions([key]) for key in keys) == 3
