"""Numbers of devices, and what is remembered by them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_shared.contracts.readings.numbers import DeviceNumbers, Remembered

NOTHING = np.array(-1, np.int64)
Ids = st.lists(st.sampled_from("abcdef"), max_size=8)


def texts(ids: Sequence[str]) -> pa.StringArray:
    return pa.array(ids, pa.string())


def test_a_device_keeps_its_number_and_the_same_question_has_the_same_answer() -> None:
    numbers = DeviceNumbers()
    assert numbers.of(texts(["a", "b", "a"])).tolist() == [0, 1, 0]
    assert numbers.of(texts(["b", "c"])).tolist() == [1, 2]
    assert numbers.of(texts(["b", "c"])).tolist() == [1, 2]
    assert numbers.of(texts([])).tolist() == []
    assert len(numbers) == 3


def test_beyond_the_limit_all_are_numbered_anew_and_what_was_remembered_is_forgotten() -> None:
    numbers = DeviceNumbers(limit=2)
    told, other = Remembered(numbers, NOTHING), Remembered(numbers, NOTHING)
    told.remember(texts(["a", "b"]), np.array([1, 2]))
    other.remember(texts(["a"]), np.array([5]))
    assert told.of(texts(["b", "c"])).tolist() == [-1, -1]
    assert other.of(texts(["a"])).tolist() == [-1]
    told.remember(texts(["c"]), np.array([3]))
    assert told.of(texts(["c"])).tolist() == [3]
    assert len(numbers) <= 2


def test_one_batch_may_have_more_devices_than_the_limit() -> None:
    numbers = DeviceNumbers(limit=1)
    assert sorted(numbers.of(texts(["a", "b", "c", "b"])).tolist()) == [0, 1, 1, 2]


def test_what_is_forgotten_is_nothing_again() -> None:
    told = Remembered(DeviceNumbers(), NOTHING)
    told.remember(texts(["a"]), np.array([1]))
    told.forget()
    assert told.of(texts(["a"])).tolist() == [-1]


@pytest.mark.parametrize("count", [1, 1_024, 1_025, 5_000])
def test_there_is_room_for_any_number_of_devices(count: int) -> None:
    told = Remembered(DeviceNumbers(), NOTHING)
    ids = texts([f"device_{number}" for number in range(count)])
    told.remember(ids, np.arange(count))
    assert told.of(ids).tolist() == list(range(count))
    assert told.of(texts(["another"])).tolist() == [-1]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), Ids), max_size=20))
def test_two_who_share_numbers_remember_as_two_dictionaries_do(
    steps: list[tuple[bool, bool, list[str]]],
) -> None:
    """Any order of questions and answers by both, with room for all devices."""
    numbers = DeviceNumbers()
    remembered = [Remembered(numbers, NOTHING), Remembered(numbers, NOTHING)]
    model: list[dict[str, int]] = [{}, {}]
    for step, (which, asks, ids) in enumerate(steps):
        if asks:
            expected = [model[which].get(id_, -1) for id_ in ids]
            assert remembered[which].of(texts(ids)).tolist() == expected
        else:
            values = [100 * step + at for at in range(len(ids))]
            remembered[which].remember(texts(ids), np.array(values, np.int64))
            model[which].update(zip(ids, values, strict=True))
