"""Which silent devices are alerts of their own, and which are one together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_alerts.domain.offline import FLEET, Pause, Plan, plan, without
from sensor_shared.contracts.rules import SilenceGroups

GROUPS = SilenceGroups(region_share=0.5, fleet_share=0.5, min_devices=20)
REGIONS = ["", "east", "north", "south", "west"]
TOTALS = [0, 100, 100, 100, 100]


def planned(silent: dict[str, int], *is_open: str, totals: list[int] | None = None) -> Plan:
    codes = [number for number, name in enumerate(REGIONS) for _ in range(silent.get(name, 0))]
    return plan(np.array(codes, np.int64), REGIONS, np.array(totals or TOTALS), is_open, GROUPS)


@pytest.mark.parametrize(
    ("silent", "is_open", "groups", "alone"),
    [
        ({"west": 3}, (), {}, 3),
        ({"west": 49}, (), {}, 49),
        ({"west": 50}, (), {"west": 50}, 0),
        ({"west": 100, "east": 2}, (), {"west": 100}, 2),
        ({"west": 90, "east": 60}, (), {"west": 90, "east": 60}, 0),
        ({"west": 100, "east": 100}, (), {FLEET: 200}, 0),
        (dict.fromkeys(REGIONS[1:], 100), (), {FLEET: 400}, 0),
        # Part of a region is back: it stays one alert until so few are left that they are no storm.
        ({"west": 30}, ("west",), {"west": 30}, 0),
        ({"west": 19}, ("west",), {}, 19),
        # Part of the fleet is back: one region takes over, or it stays one alert.
        ({"west": 100, "east": 5}, (FLEET,), {"west": 100}, 5),
        ({"west": 30, "east": 30}, (FLEET,), {FLEET: 60}, 0),
        ({"west": 10, "east": 9}, (FLEET,), {}, 19),
    ],
)
def test_silent_devices_are_grouped(
    silent: dict[str, int], is_open: tuple[str, ...], groups: dict[str, int], alone: int
) -> None:
    found = planned(silent, *is_open)
    assert found.groups == groups
    assert int(found.alone.sum()) == alone


def test_a_small_region_is_no_group() -> None:
    found = planned({"west": 10}, totals=[0, 100, 100, 100, 10])
    assert (found.groups, int(found.alone.sum())) == ({}, 10)


def test_devices_that_told_no_region_are_grouped_with_the_fleet_alone() -> None:
    found = planned({"": 40}, totals=[40, 100, 100, 100, 100])
    assert (found.groups, int(found.alone.sum())) == ({}, 40)


@given(
    st.dictionaries(st.sampled_from(REGIONS), st.integers(0, 100)),
    st.sets(st.sampled_from([FLEET, *REGIONS[1:]])),
)
def test_every_silent_device_is_in_one_group_or_alone(
    silent: dict[str, int], is_open: set[str]
) -> None:
    found = planned(silent, *is_open, totals=[100] * 5)
    assert sum(found.groups.values()) + int(found.alone.sum()) == sum(silent.values())


@given(st.lists(st.integers(0, 400), min_size=2, max_size=12))
def test_whatever_goes_and_comes_back_no_storm_is_made(waves: list[int]) -> None:
    """Devices of the fleet fall silent and return; never do more than a group's worth stay alone
    at the end of a group."""
    is_open: set[str] = set()
    for silent in waves:
        spread = dict.fromkeys(REGIONS[1:], silent // 4)
        before, found = is_open, planned(spread, *is_open)
        is_open = set(found.groups)
        if before and not is_open:
            assert int(found.alone.sum()) < GROUPS.min_devices


@pytest.mark.parametrize(
    ("seen", "counted"),
    [
        (400, 550),  # before the pause: later by all of it
        (500, 650),
        (600, 650),  # in it: by what was left of it
        (650, 650),
        (700, 700),  # after it
    ],
)
def test_a_pause_of_the_fleet_counts_against_no_device(seen: int, counted: int) -> None:
    assert without(Pause(500, 650), np.array([seen])).tolist() == [counted]


def test_without_a_pause_nothing_is_taken_off() -> None:
    moments = np.array([0, 400, 2**40])
    assert without(Pause(0, 0), moments).tolist() == moments.tolist()
