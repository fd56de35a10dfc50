"""Trends: the same line as numpy's, and a judgement that is rarely wrong."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor_analytics.domain.pace import phases, turns
from sensor_shared.contracts.windows.layout import MINUTE_MS, Sums, empty
from sensor_shared.contracts.windows.trend import directions, trends

HOUR_MS = 60 * MINUTE_MS
SLOPES = np.array([1.0, 3.0, 1.0])
Points = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def sums_of(metrics: list[Points], minutes: int) -> Sums:
    """Sums of one device by loops; `metrics` holds moments (ms) and values (thousandths)."""
    sums = empty(minutes).reshape(1, minutes)
    for which, (moments, values) in enumerate(metrics):
        for moment, v in zip(moments.tolist(), values.tolist(), strict=True):
            minute, t = divmod(moment, MINUTE_MS)
            cell = sums[0, minute]
            for name, amount in (("n", 1), ("t", t), ("tt", t * t), ("v", v), ("tv", t * v)):
                cell[name][which] += amount
            cell["vv"][which] += v * v
            cell["low"][which] = min(cell["low"][which], v)
            cell["high"][which] = max(cell["high"][which], v)
    return sums


def points(seed: int, count: int, minutes: int, level: float) -> Points:
    random = np.random.default_rng(seed)
    moments = np.sort(random.choice(minutes * MINUTE_MS, count, replace=False))
    line = level + random.normal(0, 20) * moments / HOUR_MS + random.normal(0, 0.3, count)
    return moments, np.rint(line * 1000).astype(np.int64)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 400), st.integers(2, 20))
def test_line_and_error_are_those_of_numpy_polyfit(seed: int, count: int, minutes: int) -> None:
    metrics = [points(seed + i, count, minutes, level) for i, level in enumerate((20, 55, 1013))]
    found = trends(sums_of(metrics, minutes))
    for which, (moments, values) in enumerate(metrics):
        hours, v = moments / HOUR_MS, values / 1000
        centred = hours - hours.mean()
        slope, level = np.polyfit(centred, v, 1)
        rest = ((v - slope * centred - level) ** 2).sum()
        spread = (centred**2).sum()
        assert found.points[0, which] == count
        assert found.slope[0, which] == pytest.approx(slope, rel=1e-6, abs=1e-6)
        # Exact to a thousandth of the square of a value's last digit, for each value.
        found_rest = found.error[0, which] ** 2 * (count - 2) * spread
        assert found_rest == pytest.approx(rest, rel=1e-6, abs=count * 1e-9)
        assert found.mean[0, which] == pytest.approx(v.mean(), rel=1e-9)
        assert (found.low[0, which], found.high[0, which]) == (v.min(), v.max())


def test_without_two_moments_there_is_no_line() -> None:
    one = (np.array([5]), np.array([20_000]))
    none = (np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    found = trends(sums_of([one, none, none], 3))
    assert found.points.tolist() == [[1, 0, 0]]
    assert np.isnan(found.slope).all()
    assert found.mean[0, 0] == 20.0
    judged = directions(found, np.zeros((1, 3), np.int8), SLOPES, significance=4, points=1)
    assert judged.tolist() == [[0, 0, 0]]


def judge(values: npt.NDArray[np.float64], previous: int = 0) -> int:
    """Direction of a temperature measured each second."""
    moments = np.arange(len(values)) * 1000
    temperature = (moments, np.rint(values * 1000).astype(np.int64))
    found = trends(sums_of([temperature] * 3, 15))
    before = np.full((1, 3), previous, np.int8)
    return int(directions(found, before, SLOPES, significance=4.0, points=10)[0, 0])


def test_noise_around_a_constant_is_stable() -> None:
    """A slope of four standard errors by chance: once in 16,000 windows."""
    random = np.random.default_rng(7)
    assert {judge(20 + random.normal(0, 0.08, 900)) for _ in range(50)} == {0}


@pytest.mark.parametrize(("per_hour", "expected"), [(1.5, 1), (-1.5, -1), (0.3, 0), (-0.3, 0)])
def test_a_slow_but_clear_change_is_seen(per_hour: float, expected: int) -> None:
    """1.5 °C per hour are 0.4 °C in the window; the original saw nothing below 36 per hour."""
    noise = np.random.default_rng(8).normal(0, 0.08, 900)
    assert judge(20 + per_hour * np.arange(900) / 3600 + noise) == expected


@pytest.mark.parametrize(("per_hour", "kept"), [(0.8, True), (0.4, False)])
def test_a_trend_ends_only_below_half_of_what_begins_it(per_hour: float, *, kept: bool) -> None:
    values = 20 + per_hour * np.arange(900) / 3600
    assert judge(values, previous=1) == (1 if kept else 0)
    assert judge(values, previous=0) == 0
    assert judge(values, previous=-1) == 0


def test_a_stuck_value_is_stable() -> None:
    assert judge(np.full(900, 21.37)) == 0


def test_too_few_values_are_stable() -> None:
    assert judge(np.arange(9.0)) == 0
    assert judge(np.arange(10.0)) == 1


def test_turns_are_spread_over_the_devices_and_grow_by_one_each_interval() -> None:
    ids = [f"weather_station_{i:06d}" for i in range(1_000)]
    now = 1_795_462_320_000
    phase = phases(ids)
    first = turns(phase, now, 60_000)
    assert (turns(phase, now + 60_000, 60_000) == first + 1).all()
    begun = (turns(phase, now + 30_000, 60_000) - first).sum()
    assert 400 < begun < 600
