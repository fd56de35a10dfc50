"""What the fleet measures, and when."""

import itertools
from dataclasses import fields
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor_producer.devices import Devices, make_devices
from sensor_producer.dice import Dice
from sensor_producer.faults import Fault, FaultSettings
from sensor_producer.fleet import Fleet, Readings
from sensor_shared.contracts.readings import DEVICE_TYPES, MISSING, REGIONS, STATUSES

HEALTHY = FaultSettings(
    failed=0, silent=0, stuck=0, drift=0, spike=0, maintenance=0, overheat=0, late=0, repeated=0
)
METRICS = ("temperature", "humidity", "pressure")


def fleet_of(count: int, seed: int, interval: float, faults: FaultSettings) -> Fleet:
    return Fleet(make_devices(count, seed), Dice(seed, count), interval, faults)


def measured_at(fleet: Fleet, moment: datetime, count: int) -> Readings:
    first = fleet.moments(int(moment.timestamp() * 1_000_000))
    return fleet.measure(first, first + count)


def assert_equal(left: Readings, right: Readings) -> None:
    for field in fields(Readings):
        np.testing.assert_array_equal(getattr(left, field.name), getattr(right, field.name))


def test_the_same_seed_and_clock_give_the_same_readings(
    many_faults: FaultSettings, noon_us: int
) -> None:
    one, two = (fleet_of(100, 5, 1.0, many_faults) for _ in range(2))
    first = one.moments(noon_us)
    assert_equal(one.measure(first, first + 500), two.measure(first, first + 500))


def test_another_seed_gives_other_readings(many_faults: FaultSettings, noon_us: int) -> None:
    one, two = fleet_of(100, 5, 1.0, HEALTHY), fleet_of(100, 6, 1.0, HEALTHY)
    first = one.moments(noon_us)
    left, right = one.measure(first, first + 100), two.measure(first, first + 100)
    assert np.mean(left.temperature == right.temperature) < 0.1


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_portions_do_not_matter(data: st.DataObject, faulty_fleet: Fleet, noon_us: int) -> None:
    """However time is cut into ticks, the fleet measures the same."""
    first = faulty_fleet.moments(noon_us)
    cuts = sorted(data.draw(st.lists(st.integers(0, 900), max_size=8)))
    edges = [first, *(first + cut for cut in cuts), first + 900]
    portions = [faulty_fleet.measure(a, b) for a, b in itertools.pairwise(edges)]
    assert_equal(Readings.join(portions), faulty_fleet.measure(first, first + 900))


@given(
    devices=st.integers(1, 300),
    interval_ms=st.integers(1, 100_000),
    at_us=st.integers(0, 2_000_000_000_000_000),
)
def test_moments_are_counted_exactly(devices: int, interval_ms: int, at_us: int) -> None:
    fleet = fleet_of(devices, 1, interval_ms / 1000, HEALTHY)
    count = fleet.moments(at_us)
    assert fleet.moment_us(count) >= at_us
    assert count == 0 or fleet.moment_us(count - 1) < at_us


def test_each_device_measures_once_per_interval_at_its_own_phase(noon_us: int) -> None:
    fleet = fleet_of(500, 1, 2.0, HEALTHY)
    first = fleet.moments(noon_us)
    readings = fleet.measure(first, first + 3 * 500)
    for device in range(0, 500, 37):
        times = readings.timestamp_ms[readings.device == device]
        assert np.diff(times).tolist() == [2_000, 2_000]


def test_the_load_is_even_within_the_interval(noon_us: int) -> None:
    fleet = fleet_of(10_000, 1, 1.0, HEALTHY)
    first = fleet.moments(noon_us)
    per_tick = np.bincount((fleet.measure(first, first + 10_000).timestamp_ms % 1_000) // 20)
    assert per_tick.tolist() == [200] * 50


def test_neighbours_in_time_are_not_neighbours_in_number(devices: Devices) -> None:
    """Types and regions are mixed within each tick."""
    assert abs(np.corrcoef(devices.turn, np.arange(len(devices)))[0, 1]) < 0.3


def test_timestamps_are_the_moments_of_measurement(noon_us: int) -> None:
    fleet = fleet_of(100, 1, 1.0, HEALTHY)
    first = fleet.moments(noon_us)
    readings = fleet.measure(first, first + 250)
    expected = [fleet.moment_us(number) // 1000 for number in range(first, first + 250)]
    assert readings.timestamp_ms.tolist() == expected
    assert np.all(readings.timestamp_ms >= noon_us // 1000)


def test_values_have_two_decimals(faulty_readings: Readings) -> None:
    for metric in METRICS:
        values = getattr(faulty_readings, metric)
        np.testing.assert_array_equal(values, np.round(values, 2))


@pytest.mark.parametrize("month", [1, 4, 7, 10])
def test_a_healthy_fleet_stays_plausible_all_year_and_raises_no_alert(month: int) -> None:
    fleet = fleet_of(1_000, 3, 600.0, HEALTHY)
    readings = measured_at(fleet, datetime(2026, month, 1, tzinfo=UTC), 40 * 144 * 25)
    assert readings.temperature.min() > -40
    assert readings.temperature.max() < 90
    assert readings.humidity.min() > 0
    assert readings.humidity.max() < 95
    assert readings.pressure.min() > 950
    assert readings.pressure.max() < 1050
    assert not readings.faults.any()
    assert set(readings.status.tolist()) == {STATUSES.index("active")}


def test_afternoons_are_warmer_than_nights_and_summers_than_winters() -> None:
    fleet = fleet_of(1_000, 3, 1.0, HEALTHY)
    outdoors = DEVICE_TYPES.index("weather_station")

    def mean(month: int, hour: int) -> float:
        readings = measured_at(fleet, datetime(2026, month, 20, hour, tzinfo=UTC), 1_000)
        return float(readings.temperature[readings.device % 5 == outdoors].mean())

    assert mean(7, 12) > mean(7, 1) + 5
    assert mean(7, 12) > mean(1, 12) + 12


def test_regions_and_types_differ() -> None:
    fleet = fleet_of(1_000, 3, 1.0, HEALTHY)
    readings = measured_at(fleet, datetime(2026, 1, 20, 12, tzinfo=UTC), 1_000)
    kind, region = readings.device % 5, readings.device // 5 % 5
    weather = kind == DEVICE_TYPES.index("weather_station")
    south, east = (weather & (region == REGIONS.index(name)) for name in ("south", "east"))
    assert readings.temperature[south].mean() > readings.temperature[east].mean() + 5
    industrial = kind == DEVICE_TYPES.index("industrial_sensor")
    assert readings.temperature[industrial].mean() > 50


def test_readings_of_a_device_are_noisy_around_its_curve() -> None:
    fleet = fleet_of(10, 3, 1.0, HEALTHY)
    readings = measured_at(fleet, datetime(2026, 1, 20, 12, tzinfo=UTC), 10 * 120)
    one = readings.temperature[readings.device == 3]
    assert 0.03 < one.std() < 0.3


def test_failed_readings_are_missing_in_every_metric(faulty_readings: Readings) -> None:
    failed = faulty_readings.suffering(Fault.FAILED)
    assert failed.any()
    for metric in METRICS:
        np.testing.assert_array_equal(getattr(faulty_readings, metric) == MISSING, failed)
    np.testing.assert_array_equal(faulty_readings.status == STATUSES.index("error"), failed)


def test_maintenance_shows_in_the_status(faulty_readings: Readings) -> None:
    np.testing.assert_array_equal(
        faulty_readings.status == STATUSES.index("maintenance"),
        faulty_readings.suffering(Fault.MAINTENANCE),
    )


def test_stuck_devices_repeat_their_values(faulty_readings: Readings) -> None:
    stuck = faulty_readings.suffering(Fault.STUCK)
    assert stuck.any()
    for device in np.unique(faulty_readings.device[stuck])[:5]:
        values = faulty_readings.temperature[stuck & (faulty_readings.device == device)]
        assert len(np.unique(values)) <= 2  # two when one stretch ends and the next begins


def test_spikes_are_far_from_the_healthy_value(
    faulty_readings: Readings, devices: Devices, dice: Dice
) -> None:
    spike = faulty_readings.faults == Fault.SPIKE
    assert spike.any()
    healthy = Fleet(devices, dice, 1.0, HEALTHY)
    first = healthy.moments(int(faulty_readings.timestamp_ms[0]) * 1000)
    there = healthy.measure(first, first + 20 * len(devices))
    key = there.timestamp_ms * 1_000 + there.device
    at = np.searchsorted(
        np.sort(key), (faulty_readings.timestamp_ms * 1_000 + faulty_readings.device)[spike]
    )
    expected = there.pressure[np.argsort(key)[at]]
    assert abs(faulty_readings.pressure[spike] - expected).min() > 15


def test_drift_grows_and_then_ends() -> None:
    fleet = fleet_of(20, 3, 10.0, HEALTHY.model_copy(update={"drift": 0.3}))
    healthy = fleet_of(20, 3, 10.0, HEALTHY)
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    drifting, straight = (measured_at(one, moment, 20 * 360 * 6) for one in (fleet, healthy))
    error = abs(drifting.pressure - straight.pressure)
    on = drifting.suffering(Fault.DRIFT)
    assert 0.1 < on.mean() < 0.5
    assert error[~on].max() == 0
    assert error[on].min() < 0.1
    assert error[on].max() > 7


def test_only_overheating_industrial_devices_pass_90_degrees(faulty_fleet: Fleet) -> None:
    first = faulty_fleet.moments(0)
    readings = faulty_fleet.measure(first, first + 200 * 1_200)
    hot = readings.temperature > 90
    assert hot.any()
    assert set((readings.device[hot] % 5).tolist()) == {DEVICE_TYPES.index("industrial_sensor")}
    assert readings.suffering(Fault.OVERHEAT)[hot].all()
    assert readings.temperature[hot].max() <= 120


def test_silent_devices_come_back() -> None:
    fleet = fleet_of(100, 3, 10.0, HEALTHY.model_copy(update={"silent": 0.1}))
    readings = measured_at(fleet, datetime(2026, 5, 1, tzinfo=UTC), 100 * 6 * 60 * 3)
    share = 1 - len(readings) / (100 * 6 * 60 * 3)
    assert 0.05 < share < 0.15
    gaps = np.diff(readings.timestamp_ms[readings.device == readings.device[0]])
    assert gaps.min() == 10_000
    longest = max(
        np.diff(readings.timestamp_ms[readings.device == device]).max() for device in range(100)
    )
    assert longest >= 150_000


@pytest.fixture(scope="module")
def default_day() -> tuple[Readings, int]:
    """A day of the default fleet at one reading a minute, and how many moments it had."""
    fleet = fleet_of(10_000, 42, 60.0, FaultSettings())
    moments = 10_000 * 60 * 3
    return measured_at(fleet, datetime(2026, 11, 23, 18, tzinfo=UTC), moments), moments


def test_default_rejects_and_silence_stay_below_one_percent(
    default_day: tuple[Readings, int],
) -> None:
    readings, moments = default_day
    rejected = int(readings.suffering(Fault.FAILED).sum())
    silent = moments - len(readings)
    assert 0.001 < rejected / moments < 0.003
    assert 0.001 < silent / moments < 0.003
    assert (rejected + silent) / moments < 0.01


def test_default_fault_shares_are_what_the_settings_say(default_day: tuple[Readings, int]) -> None:
    readings, _ = default_day
    rates = FaultSettings()
    for fault, share in (
        (Fault.STUCK, rates.stuck),
        (Fault.DRIFT, rates.drift),
        (Fault.MAINTENANCE, rates.maintenance),
        (Fault.OVERHEAT, rates.overheat / 5),
    ):
        assert readings.suffering(fault).mean() == pytest.approx(share, rel=0.35), fault
    assert readings.suffering(Fault.SPIKE).mean() == pytest.approx(rates.spike, rel=0.1)


def test_default_overheating_is_a_handful_a_minute(default_day: tuple[Readings, int]) -> None:
    """New devices over 90 °C: enough to see alerts work, few enough to read them."""
    readings, moments = default_day
    hot = readings.temperature > 90
    previous = set[int]()
    begun = 0
    for minute in np.unique(readings.timestamp_ms // 60_000):
        now = set(readings.device[hot & (readings.timestamp_ms // 60_000 == minute)].tolist())
        begun += len(now - previous)
        previous = now
    assert 0.5 < begun / (moments / 10_000) < 5
