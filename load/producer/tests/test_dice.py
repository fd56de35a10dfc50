"""Random numbers without state."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sensor_producer.dice import Dice, Purpose

_ROWS = 200_000
_DEVICE = np.arange(_ROWS) % 100
_COUNTER = np.arange(_ROWS, dtype=np.int64)


def test_uniform_numbers_are_even_over_0_to_1() -> None:
    values = Dice(1, 100).uniform(Purpose.SPIKE, _DEVICE, _COUNTER)
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    assert counts.sum() == _ROWS
    assert abs(counts / (_ROWS / 20) - 1).max() < 0.05


def test_normal_numbers_have_mean_0_and_deviation_1_and_no_outliers() -> None:
    values = Dice(1, 100).normal(Purpose.NOISE_PRESSURE, _DEVICE, _COUNTER)
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert abs(values).max() < 3.47


def test_purposes_devices_and_seeds_are_independent() -> None:
    dice, one, two = Dice(1, 100), np.zeros(_ROWS, int), np.ones(_ROWS, int)
    base = dice.normal(Purpose.SPIKE, one, _COUNTER)
    for other in (
        dice.normal(Purpose.FAILED, one, _COUNTER),
        dice.normal(Purpose.SPIKE, two, _COUNTER),
        dice.normal(Purpose.SPIKE, one, _COUNTER + 1),
        Dice(2, 100).normal(Purpose.SPIKE, one, _COUNTER),
    ):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.02


@given(st.permutations(range(30)), st.integers(0, 2**63 - 1))
def test_a_number_depends_on_nothing_but_its_own_device_and_counter(
    order: list[int], counter: int
) -> None:
    dice = Dice(1, 30)
    counters = np.full(30, counter, dtype=np.int64)
    straight = dice.bits(Purpose.SPIKE, np.arange(30), counters)
    np.testing.assert_array_equal(
        dice.bits(Purpose.SPIKE, np.array(order), counters), straight[order]
    )
