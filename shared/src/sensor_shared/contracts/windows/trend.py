"""Trends: a least-squares line over a device's minutes, and whether it means anything."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from sensor_shared.contracts.windows.layout import MINUTE_MS, SCALE, Sums

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Directions = npt.NDArray[np.int8]

_HOUR_MS = 60 * MINUTE_MS
_RELEASE = 0.5  # of the minimum slope: below it a trend ends; between, it stays what it is


@dataclass(frozen=True, slots=True)
class Trends:
    """Lines through the values of D devices, per metric, in the metric's unit.

    Attributes:
        points: (D, metrics) number of values.
        mean, low, high: (D, metrics); without meaning where there are no points.
        slope: (D, metrics) per hour; NaN below two different moments.
        error: (D, metrics) the slope's standard error, per hour; NaN below three values.
    """

    points: npt.NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    slope: Floats
    error: Floats

    def only(self, rows: Mask) -> "Trends":
        """Returns those of some devices."""
        return Trends(*(getattr(self, field.name)[rows] for field in fields(self)))


def trends(sums: Sums) -> Trends:
    """Fits a line by least squares to all values of a window.

    Each minute is brought to its own mean before the minutes are joined (Chan, Golub and
    LeVeque 1979), so nothing is lost by taking differences of large sums.

    Args:
        sums: (D, minutes) of `layout.SUMS`, consecutive minutes in order.
    """
    n = sums["n"].astype(np.float64)
    begin = (np.arange(sums.shape[1]) * float(MINUTE_MS))[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        t, v = sums["t"] / n, sums["v"] / n  # means of each minute
        tt = sums["tt"] - n * t * t
        tv = sums["tv"] - n * t * v
        vv = sums["vv"] - n * v * v
        points = n.sum(axis=1)
        t_mean, v_mean = _mean(t + begin, n, points), _mean(v, n, points)
        t, v = t + begin - t_mean[:, None], v - v_mean[:, None]
        spread = np.nansum(tt + n * t * t, axis=1)
        joint = np.nansum(tv + n * t * v, axis=1)
        square = np.nansum(vv + n * v * v, axis=1)
        slope = joint / np.where(spread > 0, spread, np.nan)
        rest = np.maximum(square - slope * joint, 0)
        error = np.sqrt(rest / np.where(points > 2, points - 2, np.nan) / spread)
    return Trends(
        points=points.astype(np.int64),
        mean=v_mean / SCALE,
        low=sums["low"].min(axis=1) / SCALE,
        high=sums["high"].max(axis=1) / SCALE,
        slope=slope * _HOUR_MS / SCALE,
        error=error * _HOUR_MS / SCALE,
    )


def _mean(values: Floats, n: Floats, points: Floats) -> Floats:
    mean: Floats = np.nansum(values * n, axis=1) / points
    return mean


def directions(
    found: Trends,
    previous: Directions,
    minimum: Floats,
    *,
    significance: float,
    points: int,
) -> Directions:
    """Judges whether metrics rise (1), fall (-1) or are stable (0).

    A trend needs a slope of at least `minimum` that is `significance` times its standard
    error. One that was there stays until its slope is under half the minimum or no longer
    significant, so that a slope near the minimum does not switch to and fro.

    Args:
        found: of D devices.
        previous: (D, metrics) what was judged before.
        minimum: (metrics,) in the metric's unit per hour.
        significance: slope over standard error.
        points: fewer values are always stable.
    """
    sign = np.sign(np.nan_to_num(found.slope)).astype(np.int8)
    steady = (sign == previous) & (previous != 0)
    needed = np.where(steady, _RELEASE * minimum, minimum)
    size = np.nan_to_num(np.abs(found.slope))
    error = np.nan_to_num(found.error, nan=np.inf)
    real = (found.points >= points) & (size >= needed) & (size >= significance * error)
    judged: Directions = np.where(real, sign, 0).astype(np.int8)
    return judged
