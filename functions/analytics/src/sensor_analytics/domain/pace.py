"""When something is due for a device: turns of a fixed length, spread evenly over the devices.

Whether a device has had its turn is a number in its record, so of several replicas only the
one whose write wins has it, and devices that start together do not publish together.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from sensor_analytics.domain.observations import Integers


def phases(device_ids: Sequence[str]) -> Integers:
    """Returns a number for each device that spreads the devices evenly over any interval."""
    return np.array([crc32(device.encode()) for device in device_ids], dtype=np.int64)


def turns(phase: Integers, now_ms: int, every_ms: int) -> Integers:
    """Returns the number of each device's current turn; it grows by one every `every_ms`."""
    return (now_ms + phase % every_ms) // every_ms
