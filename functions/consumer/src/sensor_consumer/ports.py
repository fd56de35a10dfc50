"""What the parts of the consumer need of those that do their work."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from sensor_consumer.delivery import Delivery
from sensor_consumer.seen import Past


class Queries(Protocol):
    """What asks ClickHouse: `adapters.database.Database`."""

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Runs a statement and returns its rows."""


class Writer(Protocol):
    """What stores a group: `tables.Tables`."""

    async def write(self, group: Sequence[Delivery], token: str) -> pa.RecordBatch:
        """Stores a group; returns its readings, joined."""

    async def without_stored(
        self, old: Sequence[Delivery], doubtful: Sequence[Delivery]
    ) -> list[Delivery]:
        """Returns the deliveries, in this order, without the rows that are stored."""

    async def keep(self, deliveries: Sequence[Delivery]) -> None:
        """Stores the rejects of deliveries; takes its time."""


class Memory(Protocol):
    """What knows events and shows their readings, as far as it can: `cache.Cache`."""

    async def begin(self, events: Sequence[tuple[str, float]]) -> Mapping[str, Past]:
        """Notes events (key, epoch seconds of sending) that are going to be stored.

        Returns what it knows of their past.
        """

    async def show(self, batch: pa.RecordBatch) -> bool:
        """Shows readings; tells whether it worked."""

    async def remember(self, keys: Sequence[str]) -> None:
        """Remembers events as stored."""
