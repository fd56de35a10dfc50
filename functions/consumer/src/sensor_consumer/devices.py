"""Which devices ClickHouse has been told of, so that it is told again only of what has changed."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sensor_shared.adapters.latest import newest_of_each

_NOWHERE: Final = 1e9
"""Stands for a missing degree: equal to itself, which NaN is not."""
_PLACE: Final = np.dtype([("latitude", "f8"), ("longitude", "f8"), ("region", "i4")])
_UNKNOWN: Final = -1

_Places = npt.NDArray[Any]


class KnownDevices:
    """The devices told of so far and where they stood, one row of numbers for each.

    Args:
        limit: devices remembered at most; beyond it all are forgotten, and told again.
    """

    def __init__(self, limit: int = 1_000_000):
        self._limit = limit
        self._row: dict[str, int] = {}
        self._region: dict[str | None, int] = {}
        self._places: _Places = np.zeros(1024, _PLACE)

    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the newest reading of each device that is new or has moved."""
        rows = self._rows(batch.column("device_id").to_pylist())
        known, now = self._places[rows], self._placed(batch)
        changed = rows == _UNKNOWN
        for name in _PLACE.names or ():
            changed |= known[name] != now[name]
        if not changed.any():
            return batch.slice(0, 0)
        return newest_of_each(batch if changed.all() else batch.filter(pa.array(changed)))

    def remember(self, stored: pa.RecordBatch) -> None:
        """Is told what `changed` returned, once it is stored."""
        if len(self._row) + stored.num_rows > self._limit or len(self._region) > self._limit:
            self._row.clear()
            self._region.clear()
        ids = stored.column("device_id").to_pylist()
        for device_id in ids:
            self._row.setdefault(device_id, len(self._row))
        for region in stored.column("region").unique().to_pylist():
            self._region.setdefault(region, len(self._region))
        while len(self._places) < len(self._row):
            self._places = np.concatenate([self._places, np.zeros_like(self._places)])
        self._places[self._rows(ids)] = self._placed(stored)

    def _rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.fromiter(map(self._row.get, ids, repeat(_UNKNOWN)), np.int64, len(ids))

    def _placed(self, batch: pa.RecordBatch) -> _Places:
        places = np.empty(batch.num_rows, _PLACE)
        for name in ("latitude", "longitude"):
            degrees: Any = batch.column(name).to_numpy(zero_copy_only=False)
            places[name] = np.nan_to_num(degrees, nan=_NOWHERE)
        coded = batch.column("region").dictionary_encode("encode")
        codes = [self._region.get(region, _UNKNOWN) for region in coded.dictionary.to_pylist()]
        places["region"] = np.array(codes, "i4")[coded.indices.to_numpy()]
        return places
