"""Random numbers as a pure function of seed, purpose, device and counter.

No generator state: whichever readings are asked for, in whichever order and portions, each gets
the same numbers. That is what makes the fleet reproducible.
"""

import math
from enum import IntEnum, auto

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_STEPS = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_LAST = np.uint64(31)
_MANTISSA = np.uint64(11)
_DEVIATION_OF_FOUR = 65_536 / math.sqrt(3)


class Purpose(IntEnum):
    """What a number is for; each purpose draws from a sequence of its own."""

    CALIBRATION_TEMPERATURE = auto()
    CALIBRATION_HUMIDITY = auto()
    CALIBRATION_PRESSURE = auto()
    NOISE_TEMPERATURE = auto()
    NOISE_HUMIDITY = auto()
    NOISE_PRESSURE = auto()
    SPIKE = auto()
    SPIKE_HEIGHT = auto()
    FAILED = auto()
    SILENT = auto()
    STUCK = auto()
    DRIFT = auto()
    DRIFT_SIGN = auto()
    MAINTENANCE = auto()
    OVERHEAT = auto()
    OVERHEAT_PEAK = auto()
    LATE = auto()
    LATE_DELAY = auto()
    REPEATED = auto()
    REPEATED_DELAY = auto()
    EPISODE_LENGTH = auto()
    EPISODE_OFFSET = auto()


def mix(bits: Bits) -> Bits:
    """Scrambles each 64-bit number one-to-one (the finalizer of splitmix64)."""
    for shift, factor in _STEPS:
        bits = (bits ^ (bits >> shift)) * factor
    return bits ^ (bits >> _LAST)


class Dice:
    """Draws numbers for devices 0 to `devices` - 1 of a fleet that begins at number `first`."""

    def __init__(self, seed: int, devices: int, first: int = 0):
        start = mix(np.array([seed % 2**64], dtype=np.uint64))
        numbers = np.arange(first, first + devices, dtype=np.uint64) * _GOLDEN
        self._keys = {
            purpose: mix(mix(start + np.uint64(purpose)) + numbers) for purpose in Purpose
        }

    def bits(self, purpose: Purpose, device: npt.NDArray[np.integer], counter: Integers) -> Bits:
        """Returns 64 random bits for each pair of device and counter."""
        return mix(self._keys[purpose][device] + counter.astype(np.uint64) * _GOLDEN)

    def uniform(
        self, purpose: Purpose, device: npt.NDArray[np.integer], counter: Integers
    ) -> Floats:
        """Returns numbers in [0, 1)."""
        high = self.bits(purpose, device, counter) >> _MANTISSA
        return high.astype(np.float64) * 2.0**-53

    def normal(
        self, purpose: Purpose, device: npt.NDArray[np.integer], counter: Integers
    ) -> Floats:
        """Returns nearly normal numbers, mean 0, deviation 1, never beyond ±3.47.

        The sum of four 16-bit numbers: one draw each, and no outlier that would look like a
        fault.
        """
        pieces = self.bits(purpose, device, counter).view(np.uint16).reshape(-1, 4)
        total = pieces.sum(axis=1, dtype=np.float64)
        result: Floats = (total - 2 * 65_535) / _DEVIATION_OF_FOUR
        return result
