"""Which devices of a batch the `devices` table does not know yet, or knows elsewhere."""

from typing import Any

import pyarrow as pa

from sensor_shared.adapters.latest import newest_of_each

_PLACE = ("region", "latitude", "longitude")
_Place = tuple[Any, ...]


class KnownDevices:
    """What this process has seen stored of the devices; a miss only costs a row to be replaced.

    Args:
        limit: of devices remembered; beyond it all are forgotten and told once more.
    """

    def __init__(self, limit: int = 1_000_000):
        self._limit = limit
        self._known: dict[str, _Place] = {}

    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the newest reading of each device that is new or has moved."""
        facts = _facts(batch)
        # Nearly always nothing is new: asked without Python code for each reading.
        known = self._known.items()
        if known >= set(facts):
            return batch.slice(0, 0)
        rows = [row for row, fact in enumerate(facts) if fact not in known]
        return newest_of_each(batch if len(rows) == batch.num_rows else batch.take(pa.array(rows)))

    def remember(self, stored: pa.RecordBatch) -> None:
        """Is told what `changed` returned, once it is stored."""
        if len(self._known) + stored.num_rows > self._limit:
            self._known.clear()
        self._known.update(_facts(stored))


def _facts(batch: pa.RecordBatch) -> list[tuple[str, _Place]]:
    places = zip(*(batch.column(name).to_pylist() for name in _PLACE), strict=True)
    return list(zip(batch.column("device_id").to_pylist(), places, strict=True))
