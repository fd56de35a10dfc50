"""Who is in the fleet: ids, types, places and moments of measurement."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensor_shared.contracts.readings import DEVICE_TYPES, REGIONS

# Corners of each region in degrees: latitude from, to; longitude from, to.
_PLACES = {
    "north": (40.6, 41.8, 31.0, 41.0),
    "south": (36.2, 37.4, 29.5, 36.2),
    "east": (37.8, 40.4, 39.0, 43.6),
    "west": (37.6, 40.4, 26.6, 29.4),
    "central": (37.8, 40.2, 31.5, 36.0),
}


@dataclass(frozen=True, slots=True)
class Devices:
    """The fleet's fixed facts, one entry per device.

    Attributes:
        ids: `<type>_<six digits>`.
        kind: index into `DEVICE_TYPES`.
        region: index into `REGIONS`.
        latitude, longitude: degrees, six decimals.
        turn: the devices in the order in which they measure within an interval.
    """

    ids: tuple[str, ...]
    kind: npt.NDArray[np.int8]
    region: npt.NDArray[np.int8]
    latitude: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]
    turn: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """Number of devices."""
        return len(self.ids)


def make_devices(count: int, seed: int, first: int = 0) -> Devices:
    """Returns the devices `first` to `first + count` - 1, types and regions in equal shares.

    A device keeps its id, type, region and place in every fleet of the same seed that it is in.
    """
    number = np.arange(first, first + count)
    kind = (number % len(DEVICE_TYPES)).astype(np.int8)
    region = (number // len(DEVICE_TYPES) % len(REGIONS)).astype(np.int8)
    corners = np.array([_PLACES[name] for name in REGIONS])[region]
    places = np.random.default_rng(seed).random((first + count, 2))[first:]
    return Devices(
        ids=tuple(f"{DEVICE_TYPES[kind[i]]}_{first + i:06d}" for i in range(count)),
        kind=kind,
        region=region,
        latitude=np.round(corners[:, 0] + places[:, 0] * (corners[:, 1] - corners[:, 0]), 6),
        longitude=np.round(corners[:, 2] + places[:, 1] * (corners[:, 3] - corners[:, 2]), 6),
        turn=np.random.default_rng(seed + 1).permutation(count).astype(np.int32),
    )
