"""A number for each device, and what is remembered of each as a column of numpy.

To look up an id in a dictionary of a hundred thousand costs 0.3 µs, most of it for memory that is
in no cache. So it is done once for all that is remembered of a device.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_UNKNOWN: Final = -1

Numbers = npt.NDArray[np.int64]


class DeviceNumbers:
    """Numbers devices from 0 on, in the order in which they are first asked about.

    Args:
        limit: devices numbered at most; beyond it all are numbered anew. One batch may have more.
    """

    def __init__(self, limit: int = 1_000_000):
        self._limit = limit
        self._number: dict[str, int] = {}
        self._asked: pa.StringArray = pa.array([], pa.string())
        self._answer: Numbers = np.empty(0, np.int64)
        self.generation = 0
        """Grows when all are numbered anew: numbers from before mean nothing any more."""

    def __len__(self) -> int:
        """How many devices have a number."""
        return len(self._number)

    def of(self, ids: pa.StringArray) -> Numbers:
        """Returns the number of each device.

        The same ids as last time, which is what those ask who remember something of one batch, cost
        a comparison of their bytes.
        """
        if not ids.equals(self._asked):
            self._asked, self._answer = ids, self._look_up(ids.to_pylist())
        return self._answer

    def _look_up(self, ids: Sequence[str]) -> Numbers:
        found = self._known(ids)
        new = dict.fromkeys(ids[at] for at in np.flatnonzero(found == _UNKNOWN).tolist())
        if not new:
            return found
        if len(self._number) + len(new) > self._limit:
            self._number.clear()
            self.generation += 1
            new = dict.fromkeys(ids)
        for device_id in new:
            self._number[device_id] = len(self._number)
        return self._known(ids)

    def _known(self, ids: Sequence[str]) -> Numbers:
        return np.fromiter(map(self._number.get, ids, repeat(_UNKNOWN)), np.int64, len(ids))


class Remembered:
    """One value for each device, forgotten when devices are numbered anew.

    Args:
        numbers: shared with others who remember something of the same devices.
        nothing: the value of a device of which nothing is remembered; its type is that of all.
    """

    def __init__(self, numbers: DeviceNumbers, nothing: npt.NDArray[Any]):
        self._numbers = numbers
        self._nothing = nothing
        self.forget()

    def of(self, ids: pa.StringArray) -> npt.NDArray[Any]:
        """Returns the value of each device."""
        numbers = self._numbers.of(ids)
        self._make_room()
        found: npt.NDArray[Any] = self._values[numbers]
        return found

    def remember(self, ids: pa.StringArray, values: npt.NDArray[Any]) -> None:
        """Takes new values; of a device that comes twice the last one."""
        numbers = self._numbers.of(ids)
        self._make_room()
        self._values[numbers] = values

    def forget(self) -> None:
        """Forgets all values."""
        self._generation = self._numbers.generation
        self._values = np.empty(0, self._nothing.dtype)

    def _make_room(self) -> None:
        if self._generation != self._numbers.generation:
            self.forget()
        if (missing := len(self._numbers) - len(self._values)) > 0:
            # Twice as many at least, so that room is seldom made.
            room = np.full(max(missing, len(self._values), 1024), self._nothing)
            self._values = np.concatenate([self._values, room])
