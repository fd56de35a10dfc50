"""Group commit, with a ClickHouse whose answers the test decides."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from sensor_consumer.delivery import Delivery
from sensor_consumer.pace import Pace, worth
from sensor_consumer.seen import Past
from sensor_consumer.settings import StoreSettings
from sensor_consumer.stages import Stages
from sensor_consumer.store import Store
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.events import READINGS_V1, REPLAYED, Event
from sensor_shared.contracts.readings import Reject

from .conftest import batch_of, now_ms, reading


def delivery(event_id: str, rows: int = 1, *, replayed: bool = False) -> Delivery:
    extensions = {REPLAYED: "true"} if replayed else {}
    event = Event(event_id, "/tests", READINGS_V1, b"", extensions=extensions)
    readings = [reading(f"{event_id}-{row}") for row in range(rows)]
    return Delivery(event, batch_of(readings), [], now_ms())


def ids(group: Sequence[Delivery]) -> list[str]:
    return [item.event.id for item in group]


@dataclass
class Writer:
    """Notes what is written; fails as it is told to; waits while the gate is closed."""

    errors: list[Exception] = field(default_factory=list)
    refused: str = ""
    there: set[str] = field(default_factory=set)
    tried: list[list[str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    asked_anew: list[list[str]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    keeping: list[Exception] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def without_stored(
        self, old: Sequence[Delivery], doubtful: Sequence[Delivery]
    ) -> list[Delivery]:
        self.asked.append(ids([*old, *doubtful]))
        self.asked_anew.append(ids(doubtful))
        return [
            replace(item, batch=item.batch.slice(0, 0)) if item.event.id in self.there else item
            for item in (*old, *doubtful)
        ]

    async def keep(self, deliveries: Sequence[Delivery]) -> None:
        self.began.set()
        await self.gate.wait()
        if self.keeping:
            raise self.keeping.pop(0)
        self.kept += ids(deliveries)

    async def write(self, group: Sequence[Delivery], token: str) -> pa.RecordBatch:
        self.tried.append(ids(group))
        self.tokens.append(token)
        self.began.set()
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        if self.refused in ids(group):
            raise DatabaseError("Code: 117. DB::Exception: bad data")
        self.written += ids(group)
        return pa.concat_batches([item.batch for item in group])


@dataclass
class Memory:
    """Knows the past of some events; notes what is shown and remembered."""

    past: dict[str, Past] = field(default_factory=dict)
    remembered: list[str] = field(default_factory=list)
    shown: int = 0

    async def begin(self, events: Sequence[tuple[str, float]]) -> dict[str, Past]:
        return {key: self.past.get(key, Past.NEW) for key, _ in events}

    async def show(self, batch: pa.RecordBatch) -> bool:
        self.shown += batch.num_rows
        return True

    async def remember(self, keys: Sequence[str]) -> None:
        self.remembered += keys


@dataclass
class Bench:
    store: Store
    writer: Writer
    memory: Memory


@asynccontextmanager
async def bench(**settings: Any) -> AsyncIterator[Bench]:
    writer, memory = Writer(), Memory()
    settings = {"linger_ms": 0, "inserts_per_second": 1_000, "concurrent_inserts": 1} | settings
    store = Store(writer, memory, Stages(), StoreSettings(**settings))
    store.start()
    writer.gate.set()
    try:
        yield Bench(store, writer, memory)
    finally:
        await store.stop()


async def test_what_arrives_while_an_insert_is_under_way_is_the_next_insert() -> None:
    async with bench() as b:
        b.writer.gate.clear()
        adding = [asyncio.create_task(b.store.add(delivery("first")))]
        await b.writer.began.wait()
        adding += [asyncio.create_task(b.store.add(delivery(name))) for name in "abc"]
        await asyncio.sleep(0)
        assert not any(task.done() for task in adding)  # nothing is answered before its rows
        b.writer.gate.set()
        await asyncio.gather(*adding)
        assert b.writer.tried == [["first"], ["a", "b", "c"]]


@pytest.mark.parametrize(
    ("events", "rows", "seconds"),
    [(1, 250, 0.005), (1, 100_000, 0.1), (10, 1, 0.01), (500, 1, 0.025), (2, 2_000, 0.08)],
)
def test_what_a_group_stands_for_grows_with_its_rows_and_its_events(
    events: int, rows: int, seconds: float
) -> None:
    one = delivery("event")
    batch = pa.concat_batches([one.batch] * rows)
    assert worth([replace(one, batch=batch)] * events) == pytest.approx(seconds)


async def test_many_events_are_few_inserts() -> None:
    """Far apart by what they stand for, although a thousand inserts a second are allowed."""
    async with bench(concurrent_inserts=1) as b:
        began = asyncio.get_running_loop().time()
        for group in range(3):
            await asyncio.gather(*(b.store.add(delivery(f"{group}-{at}")) for at in range(20)))
        assert asyncio.get_running_loop().time() - began >= 2 * 0.02
        assert [len(tried) for tried in b.writer.tried] == [20, 20, 20]


async def test_there_are_no_more_inserts_a_second_than_allowed() -> None:
    async with bench(inserts_per_second=20) as b:
        began = asyncio.get_running_loop().time()
        for number in range(5):
            await b.store.add(delivery(str(number)))
        assert asyncio.get_running_loop().time() - began >= 4 / 20
        assert len(b.writer.tried) == 5


async def test_events_that_come_together_are_one_insert() -> None:
    async with bench() as b:
        await asyncio.gather(*(b.store.add(delivery(str(i))) for i in range(20)))
        assert b.writer.tried == [[str(i) for i in range(20)]]
        assert len(b.memory.remembered) == 20


async def test_an_insert_is_bounded_and_the_rest_follows() -> None:
    async with bench(max_rows=5) as b:
        await asyncio.gather(*(b.store.add(delivery(str(i), rows=3)) for i in range(4)))
        assert b.writer.tried == [["0", "1"], ["2", "3"]]


async def test_when_too_much_waits_the_caller_is_told_to_slow_down() -> None:
    async with bench(max_waiting_rows=4) as b:
        b.writer.gate.clear()
        adding = [asyncio.create_task(b.store.add(delivery("0", rows=1)))]
        await b.writer.began.wait()
        adding.append(asyncio.create_task(b.store.add(delivery("1", rows=3))))
        await asyncio.sleep(0)
        with pytest.raises(Retry) as error:
            await b.store.add(delivery("2", rows=2))
        assert error.value.status == 429
        b.writer.gate.set()
        await asyncio.gather(*adding)


async def test_an_event_larger_than_all_that_may_wait_is_still_taken_when_nothing_waits() -> None:
    async with bench(max_waiting_rows=4) as b:
        await b.store.add(delivery("large", rows=9))
        assert b.writer.written == ["large"]


async def test_a_short_absence_of_clickhouse_is_bridged_with_the_same_group() -> None:
    async with bench() as b:
        b.writer.errors = [DatabaseAwayError("cut off")]
        await asyncio.gather(*(b.store.add(delivery(name)) for name in "ab"))
        assert b.writer.tried == [["a", "b"], ["a", "b"]]
        assert len(set(b.writer.tokens)) == 1


async def test_of_a_group_whose_insert_had_no_answer_only_what_is_missing_is_inserted_again() -> (
    None
):
    async with bench() as b:
        b.writer.errors = [DatabaseAwayError("cut off after a part of it")]
        b.writer.there = {"a"}
        await asyncio.gather(*(b.store.add(delivery(name)) for name in "ab"))
        assert b.writer.tried == [["a", "b"], ["b"]]
        assert len(set(b.writer.tokens)) == 1  # the first one may still be on its way
        assert b.memory.remembered == [delivery(name).key for name in "ab"]


async def test_an_event_that_somebody_began_and_did_not_end_is_looked_up_before_it_is_stored() -> (
    None
):
    async with bench() as b:
        b.memory.past = {delivery(name).key: Past.BEGUN for name in "ab"}
        b.writer.there = {"a"}
        await asyncio.gather(*(b.store.add(delivery(name)) for name in "abc"))
        assert b.writer.asked == b.writer.asked_anew == [["a", "b"]]
        assert b.writer.written == ["c", "b"]
        assert b.memory.shown == 3  # nobody knows whether the first one was
        assert len(b.memory.remembered) == 3


async def test_an_event_from_before_the_time_that_is_remembered_is_looked_up_too() -> None:
    async with bench() as b:
        b.memory.past = {delivery(name).key: Past.UNKNOWN for name in "ab"}
        b.writer.there = {"b"}
        await asyncio.gather(*(b.store.add(delivery(name)) for name in "abc"))
        assert b.writer.asked == [["a", "b"]]
        assert b.writer.asked_anew == [[]]
        assert b.writer.written == ["c", "a"]


async def test_an_event_given_back_is_looked_up_when_it_comes_again_even_without_redis() -> None:
    async with bench(attempts=1) as b:
        b.writer.errors = [DatabaseAwayError("no answer")]
        with pytest.raises(Retry):
            await b.store.add(delivery("a"))
        b.writer.there = {"a"}
        await b.store.add(delivery("a"))
        assert b.writer.written == []
        assert b.memory.remembered == [delivery("a").key]


async def test_a_replayed_event_is_looked_up_although_it_is_known_to_be_stored() -> None:
    async with bench() as b:
        await b.store.add(delivery("a"))
        b.memory.past[delivery("a").key] = Past.STORED
        for _ in range(2):  # lost each time since
            await b.store.add(delivery("a", replayed=True))
        assert b.writer.written == ["a", "a", "a"]
        assert len(set(b.writer.tokens)) == 3  # nor does ClickHouse take it for a repetition
        b.writer.there = {"a"}
        await b.store.add(delivery("a", replayed=True))
        assert b.writer.written == ["a", "a", "a"]


async def test_a_longer_absence_gives_every_event_back_and_forgets_none() -> None:
    async with bench(attempts=2) as b:
        b.writer.errors = [DatabaseAwayError("down"), DatabaseAwayError("down")]
        adding = [b.store.add(delivery(name)) for name in "ab"]
        results = await asyncio.gather(*adding, return_exceptions=True)
        assert [type(result) for result in results] == [Retry, Retry]
        assert b.memory.remembered == []
        await asyncio.gather(*(b.store.add(delivery(name)) for name in "ab"))
        assert b.writer.written == ["a", "b"]


async def test_an_event_that_clickhouse_refuses_does_not_hold_up_its_neighbours() -> None:
    async with bench() as b:
        b.writer.refused = "bad"
        results = await asyncio.gather(
            *(b.store.add(delivery(name)) for name in ("a", "bad", "b")), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), Retry, type(None)]
        assert b.writer.written == ["a", "b"]


async def test_one_of_many_that_clickhouse_refuses_is_found_in_few_inserts_at_their_pace() -> None:
    async with bench(inserts_per_second=100) as b:
        b.writer.refused = "17"
        began = asyncio.get_running_loop().time()
        results = await asyncio.gather(
            *(b.store.add(delivery(str(number))) for number in range(64)), return_exceptions=True
        )
        took = asyncio.get_running_loop().time() - began
        assert [number for number, result in enumerate(results) if result is not None] == [17]
        assert len(b.writer.written) == len(set(b.writer.written)) == 63
        assert len(b.writer.tried) == 1 + 2 * 6
        assert took >= (len(b.writer.tried) - 1) / 100


async def test_where_everything_is_refused_not_everything_is_tried_alone() -> None:
    async with bench() as b:
        b.writer.errors = [DatabaseError("Code: 497. DB::Exception: no") for _ in range(100)]
        results = await asyncio.gather(
            *(b.store.add(delivery(str(number))) for number in range(64)), return_exceptions=True
        )
        assert {type(result) for result in results} == {Retry}
        assert len(b.writer.tried) == 16
        b.writer.errors = []
        await asyncio.gather(*(b.store.add(delivery(str(number))) for number in range(64)))
        assert sorted(map(int, b.writer.written)) == list(range(64))


async def test_a_replayed_event_that_this_process_has_stored_is_asked_for_anew_without_redis() -> (
    None
):
    async with bench() as b:
        await b.store.add(delivery("a"))
        b.memory.past = {delivery("a").key: Past.NEW}  # Redis was away when it was to be noted
        await b.store.add(delivery("a", replayed=True))
        assert b.writer.asked_anew == [["a"]]


async def test_what_nobody_foresaw_is_given_back_and_storing_goes_on() -> None:
    async with bench() as b:
        b.writer.errors = [ZeroDivisionError("a defect")]
        with pytest.raises(Retry):
            await b.store.add(delivery("a"))
        assert b.store.running
        await b.store.add(delivery("a"))
        assert b.writer.written == ["a"]


async def test_a_stored_event_is_not_written_again() -> None:
    async with bench() as b:
        for _ in range(2):
            await b.store.add(delivery("a"))
        b.memory.past[delivery("b").key] = Past.STORED  # another replica has it
        await asyncio.gather(b.store.add(delivery("b")), b.store.add(delivery("c")))
        assert b.writer.written == ["a", "c"]


async def test_one_caller_going_away_takes_no_other_along() -> None:
    async with bench() as b:
        b.writer.gate.clear()
        gone = asyncio.create_task(b.store.add(delivery("a")))
        stays = asyncio.create_task(b.store.add(delivery("a")))
        await b.writer.began.wait()
        gone.cancel()
        b.writer.gate.set()
        await stays
        assert b.writer.written == ["a"]


async def test_stopping_gives_back_what_was_not_stored() -> None:
    async with bench() as b:
        b.writer.gate.clear()
        adding = [asyncio.create_task(b.store.add(delivery("a")))]
        await b.writer.began.wait()
        adding.append(asyncio.create_task(b.store.add(delivery("b"))))
        await asyncio.sleep(0)
        await b.store.stop()
        results = await asyncio.gather(*adding, return_exceptions=True)
        assert [type(result) for result in results] == [Retry, Retry]
        assert not b.store.running


def rejecting(event_id: str) -> Delivery:
    made = delivery(event_id)
    return replace(made, rejects=[Reject(1, "no_measurement", "", "d", b"{}")])


async def test_an_event_with_rejects_is_answered_when_these_are_stored_too() -> None:
    async with bench() as b:
        b.writer.keeping = [DatabaseAwayError("cut off")]
        good, bad = b.store.add(delivery("good")), b.store.add(rejecting("bad"))
        results = await asyncio.gather(good, bad, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), Retry]
        assert b.writer.written == ["good", "bad"]
        assert b.memory.remembered == [delivery("good").key]
        await b.store.add(rejecting("bad"))
        assert b.writer.asked == [["bad"]]  # its readings may be there
        assert b.writer.kept == ["bad"]
        assert b.memory.remembered == [delivery(name).key for name in ("good", "bad")]


async def test_rejects_that_are_refused_together_are_kept_in_parts() -> None:
    async with bench() as b:
        b.writer.keeping = [DatabaseError("Code: 117. DB::Exception: bad data")]
        names = [f"bad-{number}" for number in range(5)]
        await asyncio.gather(*(b.store.add(rejecting(name)) for name in names))
        assert b.writer.kept == names
        b.writer.keeping = [DatabaseError("Code: 497. DB::Exception: no") for _ in range(100)]
        adding = [b.store.add(rejecting(f"worse-{number}")) for number in range(64)]
        results = await asyncio.gather(*adding, return_exceptions=True)
        assert {type(result) for result in results} == {Retry}
        assert len(b.writer.keeping) == 100 - 16


def test_so_many_at_once_and_then_so_many_per_second() -> None:
    pace, now, begun = Pace(10, 3), 5.0, list[float]()
    for _ in range(6):
        now += pace.pause(now)
        pace.begin(now)
        begun.append(round(now, 3))
    assert begun == [5.0, 5.0, 5.0, 5.1, 5.2, 5.3]
    assert pace.pause(now + 0.3) == 0  # after a pause again
    pace.begin(now + 0.3, at_least=0.5)
    assert round(pace.pause(now + 0.3), 3) == 0.3  # a large one stands for more
