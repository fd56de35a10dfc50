"""The fleet in memory, its cursors, and the value that many share; no part is needed."""

import asyncio
from bisect import bisect_right

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_gateway import cursors
from sensor_gateway.fleet import Filters, Fleet
from sensor_gateway.snapshot import Snapshot
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.opaque import CursorError

IDS = st.text("abcXYZ019_-.:", min_size=1, max_size=128)


def fleet(devices: dict[str, tuple[str, str]]) -> Fleet:
    """A fleet of ids with type and region."""
    ids = sorted(devices)
    return Fleet(
        pa.table(
            {
                "device_id": pa.array(ids, pa.string()),
                "device_type": pa.array([devices[id_][0] for id_ in ids], pa.string()),
                "region": pa.array([devices[id_][1] for id_ in ids], pa.string()),
                "latitude": pa.array([None] * len(ids), pa.float64()),
                "longitude": pa.array([1.5] * len(ids), pa.float64()),
            }
        )
    )


@given(
    st.dictionaries(IDS, st.tuples(st.sampled_from("tu"), st.sampled_from(["", "n", "s"]))),
    st.frozensets(st.sampled_from("tuv")),
    st.frozensets(st.sampled_from(["n", "s", "x"])),
    st.text("abX0._", max_size=2),
)
def test_filters_find_what_a_look_at_each_device_finds(
    devices: dict[str, tuple[str, str]],
    types: frozenset[str],
    regions: frozenset[str],
    search: str,
) -> None:
    made = fleet(devices)
    found = made.select(Filters(types, regions, frozenset(), search))
    expected = [
        id_
        for id_ in sorted(devices)
        if (not types or devices[id_][0] in types)
        and (not regions or devices[id_][1] in regions)
        and search.lower() in id_.lower()
    ]
    assert [made.ids[at] for at in found] == expected


@given(st.dictionaries(IDS, st.just(("t", "n"))), IDS)
def test_a_device_is_found_by_its_id_and_the_next_behind_any_id(
    devices: dict[str, tuple[str, str]], asked: str
) -> None:
    made = fleet(devices)
    assert len(made) == len(devices)
    assert (made.find(asked) is not None) == (asked in devices)
    for at, id_ in enumerate(made.ids):
        assert made.find(id_) == at
    assert made.after(asked) == bisect_right(sorted(devices), asked)


def test_many_different_filters_are_not_all_remembered() -> None:
    made = fleet({f"d{n:03}": ("t", "n") for n in range(100)})
    for n in range(100):
        assert made.select(Filters(search=f"d{n:03}")).tolist() == [n]
    assert len(made._found) < 20


@given(IDS, st.text(max_size=20), st.text(max_size=20))
def test_a_cursor_is_good_for_its_filters_alone(last: str, filters: str, others: str) -> None:
    cursor = cursors.encode(last, filters)
    assert cursors.decode(cursor, filters) == last
    if others != filters:
        with pytest.raises(CursorError):
            cursors.decode(cursor, others)


@given(st.text("abcdefXYZ0189_-", max_size=240))
def test_a_text_that_nobody_made_is_no_cursor(text: str) -> None:
    with pytest.raises(CursorError):
        cursors.decode(text, "")


class Source:
    """Loads numbers, slowly, and can be away."""

    def __init__(self) -> None:
        self.loads = 0
        self.away = False
        self.now = 0.0

    async def load(self) -> int:
        self.loads += 1
        await asyncio.sleep(0.01)
        if self.away:
            raise DatabaseAwayError("away")
        return self.loads

    def snapshot(self) -> Snapshot[int]:
        return Snapshot(self.load, every=5.0, clock=lambda: self.now)


async def test_many_who_ask_cause_one_load() -> None:
    source = Source()
    made = source.snapshot()
    taken = await asyncio.gather(*(made.get() for _ in range(500)))
    assert {one.value for one in taken} == {1}
    assert source.loads == 1


async def test_a_value_that_grew_old_is_given_once_more_while_the_next_is_loaded() -> None:
    source = Source()
    made = source.snapshot()
    await made.get()
    source.now = 6.0
    old = await made.get()
    assert (old.value, old.age_seconds, old.stale) == (1, 6, False)
    await asyncio.sleep(0.05)
    assert (await made.get()).value == 2


async def test_a_value_that_is_much_too_old_is_waited_for() -> None:
    source = Source()
    made = source.snapshot()
    await made.get()
    source.now = 60.0
    fresh = await made.get()
    assert (fresh.value, fresh.age_seconds, fresh.stale) == (2, 0, False)


async def test_while_the_database_is_away_the_old_value_is_given_as_stale() -> None:
    source = Source()
    made = source.snapshot()
    await made.get()
    source.away, source.now = True, 60.0
    for _ in range(10):
        stale = await made.get()
        assert (stale.value, stale.age_seconds, stale.stale) == (1, 60, True)
    assert source.loads == 2, "asked again at once"
    source.away, source.now = False, 62.0
    assert (await made.get()).value == 3


async def test_without_any_value_the_error_goes_to_all_who_ask() -> None:
    source = Source()
    source.away = True
    made = source.snapshot()
    outcomes = await asyncio.gather(*(made.get() for _ in range(10)), return_exceptions=True)
    assert {type(one) for one in outcomes} == {DatabaseAwayError}
    with pytest.raises(DatabaseAwayError):
        await made.get()
    assert source.loads == 1
    await made.stop()
