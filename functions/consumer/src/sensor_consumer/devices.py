"""Which devices of a batch the `devices` table does not know yet, or knows elsewhere."""

from typing import Any

import pyarrow as pa

from sensor_shared.adapters.latest import newest_of_each

_ABOUT = ("device_id", "region", "latitude", "longitude")


class KnownDevices:
    """What this process has seen stored of the devices; a miss only costs a row to be replaced.

    Args:
        limit: of devices remembered; beyond it all are forgotten and told once more.
    """

    def __init__(self, limit: int = 1_000_000):
        self._limit = limit
        self._known: dict[str, tuple[Any, ...]] = {}

    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the newest reading of each device that is new or has moved."""
        facts = _facts(batch)
        rows = [i for i, (id_, *place) in enumerate(facts) if self._known.get(id_) != tuple(place)]
        if not rows:
            return batch.slice(0, 0)
        return newest_of_each(batch if len(rows) == batch.num_rows else batch.take(pa.array(rows)))

    def remember(self, stored: pa.RecordBatch) -> None:
        """Is told what `changed` returned, once it is stored."""
        if len(self._known) + stored.num_rows > self._limit:
            self._known.clear()
        for id_, *place in _facts(stored):
            self._known[id_] = tuple(place)


def _facts(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return list(zip(*(batch.column(name).to_pylist() for name in _ABOUT), strict=True))
