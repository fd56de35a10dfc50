"""Sudden changes: a metric's value against its previous one, by the readings' own time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensor_analytics.domain.observations import Integers, Observations
from sensor_shared.contracts.readings import METRICS
from sensor_shared.contracts.windows.layout import Devices


@dataclass(frozen=True, slots=True)
class Changes:
    """Values that differ from their predecessors by more than the threshold.

    Attributes:
        device: (C,) index of the device.
        metric: (C,) index into `METRICS`.
        value, previous: (C,) thousandths.
        at, previous_at: (C,) epoch milliseconds.
    """

    device: Integers
    metric: Integers
    value: Integers
    previous: Integers
    at: Integers
    previous_at: Integers

    def __len__(self) -> int:
        """Number of changes."""
        return len(self.device)


def advance(observations: Observations, devices: Devices, threshold: int) -> Changes:
    """Moves each device's last values forward and returns the changes on the way.

    A value that is not newer than the last one known, a late or a repeated one, neither
    moves anything nor makes a change. Metrics are independent: a missing value leaves the
    last one in place.

    Args:
        observations: in any order.
        devices: (D,) of `layout.DEVICE`; `last_at` and `last` are changed in place.
        threshold: thousandths; a change is strictly more.
    """
    metrics = len(METRICS)
    row, metric = np.nonzero(observations.given)
    series = observations.device[row] * metrics + metric
    at = observations.timestamp[row]
    value = observations.values[row, metric]

    last_at = devices["last_at"].ravel()
    last = devices["last"].ravel().astype(np.int64)
    newer = np.flatnonzero(at > last_at[series])
    order = newer[np.lexsort((at[newer], series[newer]))]
    series, at, value = series[order], at[order], value[order]
    once = np.ones(len(series), dtype=np.bool_)
    once[1:] = (series[1:] != series[:-1]) | (at[1:] != at[:-1])
    series, at, value = series[once], at[once], value[once]

    first = np.ones(len(series), dtype=np.bool_)
    first[1:] = series[1:] != series[:-1]
    previous_at = np.where(first, last_at[series], np.roll(at, 1))
    previous = np.where(first, last[series], np.roll(value, 1))
    sudden = (previous_at > 0) & (np.abs(value - previous) > threshold)

    final = np.roll(first, -1)  # the one before the next series' first is its series' last
    last_at[series[final]] = at[final]
    last[series[final]] = value[final]
    devices["last_at"] = last_at.reshape(-1, metrics)
    devices["last"] = last.reshape(-1, metrics)
    device, which = np.divmod(series[sudden], metrics)
    return Changes(device, which, value[sudden], previous[sudden], at[sudden], previous_at[sudden])


def strongest(changes: Changes) -> npt.NDArray[np.intp]:
    """Returns the position of the largest change of each device and metric."""
    size = np.abs(changes.value - changes.previous)
    series = changes.device * len(METRICS) + changes.metric
    order = np.lexsort((-size, series))
    return order[np.unique(series[order], return_index=True)[1]]
