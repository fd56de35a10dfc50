"""Folding readings into minutes, each exactly once, whatever comes again or out of order.

A reading is known by its device and its own time, as in the database. Each minute remembers
the moments that it has counted, so a second delivery of an event, or the same reading in
another event, finds itself and adds nothing: no matter how far the first one got. Sums of
integers commute, so the order does not matter either.
"""

from dataclasses import dataclass

import numpy as np

from sensor_analytics.domain.observations import Integers, Mask, Observations
from sensor_shared.contracts.windows.layout import MINUTE_MS, Devices, Sums

_MINUTES = 2**26  # more minutes than the year 2090 has counted


@dataclass(frozen=True, slots=True)
class Cells:
    """The minutes of devices that some readings belong to, and each device's current one.

    Attributes:
        device: (C,) index of the device, ascending.
        minute: (C,) minutes since the epoch, ascending within a device.
        of: (N,) the cell of each reading.
    """

    device: Integers
    minute: Integers
    of: Integers

    def current(self, devices: Devices) -> Mask:
        """Returns which cells are their device's current minute, that of its newest reading."""
        mask: Mask = self.minute == devices["latest"][self.device] // MINUTE_MS
        return mask

    def earlier(self, devices: Devices) -> Mask:
        """Returns which cells lie before their device's current minute."""
        mask: Mask = self.minute < devices["latest"][self.device] // MINUTE_MS
        return mask


def cells(observations: Observations, devices: Devices) -> Cells:
    """Returns the minutes of the readings and of the devices, each once, by device and minute.

    Args:
        observations: in any order.
        devices: (D,) of `layout.DEVICE`, before these readings.
    """
    known = np.flatnonzero(devices["latest"])
    device = np.concatenate([observations.device, known])
    minute = np.concatenate([observations.timestamp, devices["latest"][known]]) // MINUTE_MS
    distinct, of = np.unique(device * _MINUTES + minute, return_inverse=True)
    return Cells(*np.divmod(distinct, _MINUTES), of[: len(observations)])


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of the readings.

    Attributes:
        changed: (C,) cells that have new readings.
        new, late, repeated: (D,) how many readings of each device were counted, came too late
            for the window, or had been counted before.
    """

    changed: Mask
    new: Integers
    late: Integers
    repeated: Integers


def fold(
    observations: Observations,
    where: Cells,
    devices: Devices,
    sums: Sums,
    moments: list[bytes],
    *,
    window: int,
) -> Folded:
    """Adds the readings that are not yet counted.

    Args:
        observations: in any order.
        where: their cells.
        devices: (D,) of `layout.DEVICE`; `latest` is moved forward in place.
        sums: (C,) of `layout.SUMS`, changed in place.
        moments: (C,) counted moments, changed in place.
        window: minutes; a reading that lies before its device's window is left out.
    """
    latest = devices["latest"].copy()
    np.maximum.at(latest, observations.device, observations.timestamp)
    devices["latest"] = latest
    oldest = latest // MINUTE_MS - window + 1
    timely = where.minute[where.of] >= oldest[observations.device]

    known = np.repeat(np.arange(len(moments)), [len(seen) // 2 for seen in moments])
    known = known * MINUTE_MS + np.frombuffer(b"".join(moments), "<u2")
    moment = observations.timestamp % MINUTE_MS
    identity, first = np.unique(where.of * MINUTE_MS + moment, return_index=True)
    # Sorted by cell, because the cell is the identity's upper part.
    rows = first[~np.isin(identity, known, assume_unique=True)]
    rows = rows[timely[rows]]

    _add(sums, where.of[rows], moment[rows], observations.values[rows], observations.given[rows])
    changed = _remember(moments, where.of[rows], moment[rows])
    every = _per_device(observations.device, devices)
    new = _per_device(observations.device[rows], devices)
    late = _per_device(observations.device[~timely], devices)
    return Folded(changed, new, late, every - late - new)


def _per_device(device: Integers, devices: Devices) -> Integers:
    return np.bincount(device, minlength=len(devices)).astype(np.int64)


def _add(sums: Sums, cell: Integers, moment: Integers, values: Integers, given: Mask) -> None:
    row, metric = np.nonzero(given)
    target = (cell[row], metric)
    t, v = moment[row], values[row, metric]
    np.add.at(sums["n"], target, 1)
    np.add.at(sums["t"], target, t)
    np.add.at(sums["tt"], target, t * t)
    np.add.at(sums["v"], target, v)
    np.add.at(sums["tv"], target, t * v)
    np.add.at(sums["vv"], target, v.astype(np.float64) ** 2)
    np.minimum.at(sums["low"], target, v)
    np.maximum.at(sums["high"], target, v)


def _remember(moments: list[bytes], cell: Integers, moment: Integers) -> Mask:
    counts = np.bincount(cell, minlength=len(moments))
    ends = 2 * np.cumsum(counts)
    data = moment.astype("<u2").tobytes()
    for at in np.flatnonzero(counts).tolist():
        moments[at] += data[ends[at] - 2 * counts[at] : ends[at]]
    return counts > 0
