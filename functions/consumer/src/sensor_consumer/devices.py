"""Which devices of a batch the `devices` table does not know yet, or knows elsewhere."""

from typing import Any

import pyarrow as pa

from sensor_shared.adapters.latest import newest_of_each

_ABOUT = ("device_id", "region", "latitude", "longitude")
_Facts = tuple[Any, ...]


class KnownDevices:
    """What this process has seen stored of the devices; a miss only costs a row to be replaced.

    Args:
        limit: of devices remembered; beyond it all are forgotten and told once more.
    """

    def __init__(self, limit: int = 1_000_000):
        self._limit = limit
        self._known: dict[str, _Facts] = {}
        # The same facts once more, for a question that costs no Python code per reading.
        self._told: set[_Facts] = set()

    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the newest reading of each device that is new or has moved."""
        facts = _facts(batch)
        if self._told.issuperset(facts):
            return batch.slice(0, 0)
        rows = [row for row, fact in enumerate(facts) if fact not in self._told]
        return newest_of_each(batch if len(rows) == batch.num_rows else batch.take(pa.array(rows)))

    def remember(self, stored: pa.RecordBatch) -> None:
        """Is told what `changed` returned, once it is stored."""
        if len(self._known) + stored.num_rows > self._limit:
            self._known.clear()
            self._told.clear()
        for fact in _facts(stored):
            # A device that moves back is told once more: the newest place counts.
            self._told.discard(self._known.get(fact[0], ()))
            self._known[fact[0]] = fact
            self._told.add(fact)


def _facts(batch: pa.RecordBatch) -> list[_Facts]:
    return list(zip(*(batch.column(name).to_pylist() for name in _ABOUT), strict=True))
