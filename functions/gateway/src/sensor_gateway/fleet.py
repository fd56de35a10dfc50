"""All devices in memory, in the order of their ids: found and filtered without a query."""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Positions = npt.NDArray[np.int32]

_REMEMBERED: Final = 16
"""Filters whose result is kept: somebody who turns pages asks with the same one."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What devices must be; empty ones ask for nothing.

    Attributes:
        types, regions, statuses: one of these.
        search: part of the id, whatever the case of its letters.
    """

    types: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    search: str = ""

    def key(self) -> str:
        """Returns a text that is the same for the same filters only."""
        return repr(
            (sorted(self.types), sorted(self.regions), sorted(self.statuses), self.search.lower())
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change with every reading of a device."""

    device_id: str
    device_type: str
    region: str | None
    latitude: float | None
    longitude: float | None


class Fleet:
    """The devices as they were when they were loaded.

    Args:
        table: columns device_id (ascending, each once), device_type, region (empty: not told),
            latitude and longitude.
    """

    def __init__(self, table: pa.Table):
        self.ids: list[str] = table.column("device_id").to_pylist()
        self._text = table.column("device_id").combine_chunks()
        self._types = _Words(table.column("device_type"))
        self._regions = _Words(table.column("region"))
        self._places = [table.column(name).combine_chunks() for name in ("latitude", "longitude")]
        self._found: OrderedDict[str, Positions] = OrderedDict()
        self._all = np.arange(len(self.ids), dtype=np.int32)

    def __len__(self) -> int:
        """Number of devices."""
        return len(self.ids)

    def find(self, device_id: str) -> int | None:
        """Returns the position of a device, None when there is none."""
        at = bisect_left(self.ids, device_id)
        return at if at < len(self.ids) and self.ids[at] == device_id else None

    def after(self, device_id: str) -> int:
        """Returns the position of the first device behind an id, be it there or not."""
        return bisect_right(self.ids, device_id)

    def facts(self, position: int) -> Facts:
        """Returns what is known of the device at a position."""
        latitude, longitude = (column[position].as_py() for column in self._places)
        return Facts(
            self.ids[position],
            self._types.word(position),
            self._regions.word(position) or None,
            latitude,
            longitude,
        )

    def select(self, filters: Filters) -> Positions:
        """Returns the positions of the devices that fit, ascending; statuses are not looked at."""
        if not (filters.types or filters.regions or filters.search):
            return self._all
        key = filters.key()
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = np.flatnonzero(self._fits(filters)).astype(np.int32)
            if len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return found

    def counts(self, column: str) -> dict[str, int]:
        """Returns the number of devices by `device_type` or `region`."""
        return {"device_type": self._types, "region": self._regions}[column].counts()

    def _fits(self, filters: Filters) -> npt.NDArray[np.bool_]:
        fits = np.ones(len(self.ids), dtype=np.bool_)
        if filters.types:
            fits &= self._types.among(filters.types)
        if filters.regions:
            fits &= self._regions.among(filters.regions)
        if filters.search:
            contains: Any = pc.match_substring(self._text, filters.search, ignore_case=True)
            fits &= contains.to_numpy(zero_copy_only=False)
        return fits


class _Words:
    """A column of few different words, each row as a number."""

    def __init__(self, column: Any):
        coded = pc.dictionary_encode(column.combine_chunks())
        self._words: list[str] = coded.dictionary.to_pylist()
        self._codes: npt.NDArray[np.int32] = coded.indices.to_numpy()

    def word(self, position: int) -> str:
        return self._words[int(self._codes[position])]

    def among(self, words: frozenset[str]) -> npt.NDArray[np.bool_]:
        wanted = np.array([word in words for word in self._words], dtype=np.bool_)
        return wanted[self._codes]

    def counts(self) -> dict[str, int]:
        numbers = np.bincount(self._codes, minlength=len(self._words)).tolist()
        return dict(sorted(zip(self._words, numbers, strict=True)))
