"""The audit's arithmetic: it always adds up, and it is exact where the sets are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_local.audit.balance import (
    MINUTE_MS,
    NO_KEYS,
    Copies,
    Expected,
    Keys,
    Settled,
    device_of,
    duplicated,
    pack,
    settle,
)
from sensor_producer.checksum import scramble

START = 29_000_000 * MINUTE_MS
POSITIONS = (0, 3, 70_000)

Reading = tuple[int, int]
"""Position of the device, milliseconds in the minute."""

readings = st.sets(st.tuples(st.sampled_from(POSITIONS), st.integers(59_990, 59_999)))
anywhere = st.sets(st.tuples(st.sampled_from((*POSITIONS, 1)), st.integers(59_990, 59_999)))


def keys(found: set[Reading]) -> Keys:
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    return np.unique(pack(pairs[:, 0], pairs[:, 1]))


def expect(ledger: set[Reading]) -> Expected:
    of_each = [[at for device, at in ledger if device == position] for position in POSITIONS]
    return Expected(
        START,
        np.array(POSITIONS),
        np.array([len(stamps) for stamps in of_each], np.int64),
        np.array(
            [scramble(np.array(s, np.int64) + START).sum(dtype=np.uint64) for s in of_each],
            np.uint64,
        ),
    )


@given(ledger=readings, stored=readings, dead=anywhere, flight=anywhere)
def test_it_adds_up_whatever_is_found(
    ledger: set[Reading], stored: set[Reading], dead: set[Reading], flight: set[Reading]
) -> None:
    found = settle(expect(ledger), keys(stored), keys(dead), keys(flight))
    assert found.stored + found.dead_lettered + found.in_flight + found.lost == len(ledger)
    assert min(found.stored, found.dead_lettered, found.in_flight, found.lost) >= 0


@given(data=st.data(), ledger=readings)
def test_it_is_exact_for_readings_that_the_ledger_has(
    data: st.DataObject, ledger: set[Reading]
) -> None:
    of_the_ledger = st.sets(st.sampled_from(sorted(ledger))) if ledger else st.just(set())
    stored, dead, flight = (data.draw(of_the_ledger) for _ in range(3))
    found = settle(expect(ledger), keys(stored), keys(dead), keys(flight))
    assert found == Settled(
        stored=len(stored),
        dead_lettered=len(dead - stored),
        in_flight=len(flight - stored - dead),
        lost=len(ledger - stored - dead - flight),
    )


@given(ledger=readings, stored=readings)
def test_nothing_elsewhere_means_that_each_missing_reading_is_lost_or_noticed(
    ledger: set[Reading], stored: set[Reading]
) -> None:
    found = settle(expect(ledger), keys(stored), NO_KEYS, NO_KEYS)
    for position in POSITIONS:
        mine = {reading for reading in ledger if reading[0] == position}
        theirs = {reading for reading in stored if reading[0] == position}
        if len(mine) == len(theirs) and mine != theirs:
            assert found.different
        if len(mine) > len(theirs):
            assert found.lost >= len(mine) - len(theirs)


def test_a_changed_time_is_seen_unless_the_reading_may_be_on_its_way() -> None:
    ledger, stored = {(3, 1), (3, 2)}, {(3, 1), (3, 5)}
    assert settle(expect(ledger), keys(stored), NO_KEYS, NO_KEYS).different == 1
    on_the_way = settle(expect(ledger), keys(stored), NO_KEYS, keys({(3, 2)}))
    assert on_the_way == Settled(stored=2)


def test_a_key_tells_its_device() -> None:
    packed = pack(np.array([70_000, 0]), np.array([59_999, 0]))
    assert device_of(packed).tolist() == [70_000, 0]


@pytest.mark.parametrize(
    ("rows", "answered", "repeated", "unexplained"),
    [(3, 0, 3, 0), (2, 0, 3, 0), (5, 0, 3, 2), (5, 4, 5, 4), (0, 0, 0, 0)],
)
def test_copies_beyond_those_sent_and_copies_in_answers_are_duplicates(
    rows: int, answered: int, repeated: int, unexplained: int
) -> None:
    copies = Copies(expect({(0, 1)}), np.array([1, 0, 0]), rows, answered)
    assert duplicated([copies], {START: repeated}, frozenset()) == unexplained


@pytest.mark.parametrize(("minutes", "judged"), [(-1, 2), (0, 0), (1, 0), (2, 0), (3, 2)])
def test_where_the_ledger_has_a_gap_only_answers_are_judged(minutes: int, judged: int) -> None:
    copies = Copies(expect({(0, 1)}), np.array([1, 0, 0]), rows=2, answered=0)
    assert duplicated([copies], {}, {START + minutes * MINUTE_MS}) == judged
    in_answers = Copies(expect({(0, 1)}), np.array([1, 0, 0]), rows=2, answered=1)
    assert duplicated([in_answers], {}, {START + minutes * MINUTE_MS}) >= 1


def test_a_gap_shows_as_more_readings_than_the_ledger_has() -> None:
    copies = Copies(expect({(0, 1), (3, 1)}), np.array([2, 1, 0]), rows=0, answered=0)
    count = np.zeros(70_001, np.uint32)
    count[[0, 3]] = 1, 1
    assert copies.surplus(count) == 1
    count[0] = 2
    assert copies.surplus(count) == 0
