"""Which devices ClickHouse has been told of, so that it is told again only of what has changed."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sensor_shared.adapters.latest import newest_of_each
from sensor_shared.contracts.readings.numbers import DeviceNumbers, Remembered

_NOWHERE: Final = 1e9
"""Stands for a missing degree: equal to itself, which NaN is not."""
_PLACE: Final = np.dtype([("latitude", "f8"), ("longitude", "f8"), ("region", "i4")])
_UNKNOWN: Final = -1
_NEVER_TOLD: Final = np.array((_NOWHERE, _NOWHERE, -2), _PLACE)
"""Stands nowhere that a reading can: its region is none, not even an unknown one."""
_MOST_REGIONS: Final = 1_000_000

_Places = npt.NDArray[Any]


class KnownDevices:
    """The devices told of so far and where they stood, one row of numbers for each.

    Args:
        numbers: of the devices.
    """

    def __init__(self, numbers: DeviceNumbers):
        self._told = Remembered(numbers, _NEVER_TOLD)
        self._region: dict[str | None, int] = {}

    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the newest reading of each device that is new or has moved."""
        known, now = self._told.of(batch.column("device_id")), self._placed(batch)
        changed = np.zeros(batch.num_rows, dtype=np.bool_)
        for name in _PLACE.names or ():
            changed |= known[name] != now[name]
        if not changed.any():
            return batch.slice(0, 0)
        return newest_of_each(batch if changed.all() else batch.filter(pa.array(changed)))

    def remember(self, stored: pa.RecordBatch) -> None:
        """Is told what `changed` returned, once it is stored."""
        if len(self._region) > _MOST_REGIONS:
            self._told.forget()
            self._region.clear()
        for region in stored.column("region").unique().to_pylist():
            self._region.setdefault(region, len(self._region))
        self._told.remember(stored.column("device_id"), self._placed(stored))

    def _placed(self, batch: pa.RecordBatch) -> _Places:
        places = np.empty(batch.num_rows, _PLACE)
        for name in ("latitude", "longitude"):
            degrees: Any = batch.column(name).to_numpy(zero_copy_only=False)
            places[name] = np.nan_to_num(degrees, nan=_NOWHERE)
        coded = batch.column("region").dictionary_encode("encode")
        codes = [self._region.get(region, _UNKNOWN) for region in coded.dictionary.to_pylist()]
        places["region"] = np.array(codes, "i4")[coded.indices.to_numpy()]
        return places
