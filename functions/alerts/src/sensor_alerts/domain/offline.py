"""Which silent devices are alerts of their own, and which are one alert together. No I/O."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sensor_shared.contracts.rules import SilenceGroups

FLEET: Final = ""
"""Stands for the group of all devices where regions are named."""


class Pause(NamedTuple):
    """A time in which nearly nobody was heard, epoch milliseconds; both 0: there was none."""

    begin_ms: int
    end_ms: int


def without(pause: Pause, moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the moments at which devices were last seen, later by what each missed of the pause.

    That nobody was heard is no fault of theirs. Only one pause is taken off: however often a fleet
    pauses, a device that stays away is found.
    """
    counted: npt.NDArray[np.int64] = moments + np.maximum(
        pause.end_ms - np.maximum(moments, pause.begin_ms), 0
    )
    return counted


@dataclass(frozen=True, slots=True)
class Plan:
    """What silent devices come to.

    Attributes:
        groups: devices by region; `FLEET`: all that are silent are one alert.
        alone: mask over the devices: those that are alerts of their own.
    """

    groups: dict[str, int]
    alone: npt.NDArray[np.bool_]


def plan(
    silent: npt.NDArray[np.int64],
    regions: list[str],
    totals: npt.NDArray[np.int64],
    is_open: Collection[str],
    groups: SilenceGroups,
) -> Plan:
    """Groups devices that have fallen silent and have no alert of their own yet.

    A group begins with a share of its devices, and ends when fewer than `min_devices` of them are
    left: these become alerts of their own. So neither the beginning nor the end is a storm.

    Args:
        silent: of each silent device the number of its region.
        regions: names by number; the empty name stands for devices that told none.
        totals: devices of each region.
        is_open: groups that are alerts already.
        groups: the shares.
    """
    counts = np.bincount(silent, minlength=len(regions))
    least = groups.min_devices
    begun = np.array([name in is_open for name in regions], np.bool_)
    named = np.array([name != "" for name in regions], np.bool_)
    shares = counts >= np.maximum(groups.region_share * totals, 1)
    grouped = named & (counts >= least) & (shares | begun)
    rest = int(counts[~grouped].sum())
    whole = len(silent) >= max(least, groups.fleet_share * int(totals.sum()))
    if whole or (FLEET in is_open and rest >= least):
        return Plan({FLEET: len(silent)}, np.zeros(len(silent), np.bool_))
    return Plan(
        {regions[number]: int(counts[number]) for number in np.flatnonzero(grouped).tolist()},
        ~grouped[silent],
    )
