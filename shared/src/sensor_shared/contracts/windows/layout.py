"""What is kept per device and per minute of a device, as bytes of fixed layout.

A device's record ends with its current minute, that of its newest reading, because nearly every
reading belongs to it: one record is read and written for each device. Minutes before it have
records of their own.

Little-endian, packed. A change of either layout needs a new `VERSION`: it is part of every key,
so that replicas of both versions can run beside each other.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from sensor_shared.contracts.readings import DECIMALS, METRICS

MINUTE_MS: Final = 60_000
SCALE: Final = 10**DECIMALS
"""Values are whole thousandths, as they are stored: sums of them are exact in any order."""
VERSION: Final = 2
_M = len(METRICS)

TOKEN_BYTES: Final = 8
"""A record begins with a token that each write replaces: the version for compare-and-set."""

DEVICE: Final = np.dtype(
    [
        ("token", "<u8"),
        ("latest", "<i8"),  # newest reading, epoch ms; 0: none yet
        ("last_at", "<i8", (_M,)),  # newest value of each metric, epoch ms; 0: none yet
        ("last", "<i4", (_M,)),  # that value, thousandths
        ("direction", "i1", (_M,)),  # last judged: -1 falling, 0 stable, 1 rising
        ("judged", "<i8"),  # number of the turn in which the trend was last judged
        ("published", "<i8"),  # ... in which it was last published
        ("delta_at", "<i8"),  # when a delta was last published, epoch ms
    ]
)

_PACKED: Final = np.dtype(
    [
        ("n", "<u2", (_M,)),  # at most one reading a millisecond: 60,000
        ("t", "<u4", (_M,)),
        ("tt", "<u8", (_M,)),
        ("v", "<i8", (_M,)),
        ("tv", "<i8", (_M,)),
        ("vv", "<f8", (_M,)),
        ("low", "<i4", (_M,)),
        ("high", "<i4", (_M,)),
    ]
)

SUMS: Final = np.dtype(
    [
        (name, "<f8" if name == "vv" else "<i8", (_M,))
        for name in ("n", "t", "tt", "v", "tv", "vv", "low", "high")
    ]
)
"""A minute as it is computed with: per metric the number of values, Σt, Σt², Σv, Σt·v, Σv²,
minimum and maximum; t in milliseconds since the minute began, v in thousandths."""

_LOWEST, _HIGHEST = np.iinfo(np.int32).min, np.iinfo(np.int32).max

Sums = npt.NDArray[np.void]
Devices = npt.NDArray[np.void]


def empty(count: int) -> Sums:
    """Returns `count` minutes without a value."""
    sums = np.zeros(count, dtype=SUMS)
    sums["low"], sums["high"] = _HIGHEST, _LOWEST
    return sums


def devices_from(records: Sequence[bytes | None]) -> tuple[Devices, Sums, list[bytes]]:
    """Returns the devices, and what `minutes_from` would of their current minutes.

    Of a missing one all is zero, and its minute without a value.
    """
    size = DEVICE.itemsize
    nothing = bytes(size)
    devices = b"".join(nothing if record is None else record[:size] for record in records)
    current = [None if record is None else record[size:] for record in records]
    return np.frombuffer(devices, DEVICE).copy(), *minutes_from(current)


def minutes_from(records: Sequence[bytes | None]) -> tuple[Sums, list[bytes]]:
    """Returns the sums of minutes, and for each the moments that are in them.

    The moments are unsigned 16-bit milliseconds within the minute: who has been counted.
    """
    size = _PACKED.itemsize
    nothing = empty(1).astype(_PACKED).tobytes()
    packed = b"".join(nothing if record is None else record[:size] for record in records)
    moments = [b"" if record is None else record[size:] for record in records]
    return np.frombuffer(packed, _PACKED).astype(SUMS), moments


def device_records(devices: Devices, sums: Sums, moments: Sequence[bytes]) -> list[bytes]:
    """Returns each device's record with its current minute; the opposite of `devices_from`."""
    fixed = _slices(devices.tobytes(), DEVICE.itemsize)
    return [
        device + minute for device, minute in zip(fixed, minute_records(sums, moments), strict=True)
    ]


def minute_records(sums: Sums, moments: Sequence[bytes]) -> list[bytes]:
    """Returns each minute's record; the opposite of `minutes_from`."""
    packed = _slices(sums.astype(_PACKED).tobytes(), _PACKED.itemsize)
    return [fixed + seen for fixed, seen in zip(packed, moments, strict=True)]


def _slices(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
