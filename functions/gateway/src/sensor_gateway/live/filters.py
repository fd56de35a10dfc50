"""Which devices a stream follows."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sensor_gateway.live.changes import ReadingChange
from sensor_shared.adapters.latest_record import region_of
from sensor_shared.contracts.readings import device_type


@dataclass(frozen=True)
class Filter:
    """All that is given must hold; what is empty lets everything through."""

    devices: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """A short text that is the same for the same filter, in every process."""
        parts = repr([sorted(self.devices), sorted(self.regions), sorted(self.types)])
        return hashlib.sha256(parts.encode()).hexdigest()[:8]

    def among(self, changes: Mapping[str, ReadingChange]) -> Iterable[ReadingChange]:
        """Returns those of the changes, by device, that are followed."""
        if self.devices:
            found: Iterable[ReadingChange] = (
                changes[device_id] for device_id in self.devices & changes.keys()
            )
        else:
            found = changes.values()
        if not self.regions and not self.types:
            return found
        return (change for change in found if self._takes(change))

    def _takes(self, change: ReadingChange) -> bool:
        if self.types and device_type(change.device_id) not in self.types:
            return False
        return not self.regions or region_of(change.record) in self.regions
