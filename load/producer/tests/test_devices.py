"""Who is in the fleet."""

import re

import numpy as np

from sensor_producer.devices import make_devices
from sensor_producer.dice import Dice, Purpose
from sensor_shared.contracts.readings import DEVICE_TYPES, REGIONS, device_type


def test_ids_are_unique_and_name_the_type() -> None:
    devices = make_devices(1_000, 1)
    assert len(set(devices.ids)) == 1_000
    for id_, kind in zip(devices.ids, devices.kind.tolist(), strict=True):
        assert re.fullmatch(r"[a-z_]+_\d{6}", id_)
        assert device_type(id_) == DEVICE_TYPES[kind]


def test_each_type_has_the_same_share_of_each_region() -> None:
    devices = make_devices(1_000, 1)
    pairs, counts = np.unique(np.stack([devices.kind, devices.region]), axis=1, return_counts=True)
    assert pairs.shape[1] == len(DEVICE_TYPES) * len(REGIONS)
    assert set(counts.tolist()) == {1_000 // 25}


def test_places_are_in_turkey_and_apart_by_region() -> None:
    devices = make_devices(1_000, 1)
    assert 36 <= devices.latitude.min() <= devices.latitude.max() <= 42
    assert 26 <= devices.longitude.min() <= devices.longitude.max() <= 45
    west, east = (devices.region == REGIONS.index(name) for name in ("west", "east"))
    assert devices.longitude[west].max() < devices.longitude[east].min()
    np.testing.assert_array_equal(np.round(devices.latitude, 6), devices.latitude)


def test_a_device_stays_itself_in_a_larger_fleet() -> None:
    small, large = make_devices(50, 3), make_devices(500, 3)
    assert large.ids[:50] == small.ids
    np.testing.assert_array_equal(large.latitude[:50], small.latitude)
    np.testing.assert_array_equal(large.region[:50], small.region)


def test_another_seed_gives_other_places() -> None:
    assert not np.array_equal(make_devices(50, 3).latitude, make_devices(50, 4).latitude)


def test_a_fleet_that_begins_later_has_the_same_devices_as_a_large_one() -> None:
    whole, later = make_devices(100, 7), make_devices(40, 7, first=60)
    assert later.ids == whole.ids[60:]
    for column in ("kind", "region", "latitude", "longitude"):
        np.testing.assert_array_equal(getattr(later, column), getattr(whole, column)[60:])
    assert sorted(later.turn.tolist()) == list(range(40))
    numbers = np.arange(40)
    np.testing.assert_array_equal(
        Dice(7, 40, first=60).bits(Purpose.LATE, numbers, numbers),
        Dice(7, 100).bits(Purpose.LATE, numbers + 60, numbers),
    )
