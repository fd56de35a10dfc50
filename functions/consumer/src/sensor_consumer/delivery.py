"""One event on its way into the store."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sensor_shared.contracts.events import REPLAYED, Event
from sensor_shared.contracts.readings import Reject


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an event held, as it is to be stored.

    Attributes:
        event: its key tells repetitions.
        batch: the valid readings, columns of `readings.SCHEMA`.
        rejects: the rest.
        arrived_ms: when the event came, epoch milliseconds.
        key: identity of the event, taken from it when it is not given.
    """

    event: Event
    batch: pa.RecordBatch
    rejects: list[Reject]
    arrived_ms: int
    key: str = ""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.event.key)

    @property
    def rows(self) -> int:
        """Number of rows that it adds to the tables."""
        return int(self.batch.num_rows) + len(self.rejects)

    @property
    def sent(self) -> float:
        """When its sender says that it was sent, else when its newest reading was taken.

        Epoch seconds.
        """
        if self.event.time is not None:
            return self.event.time.timestamp()
        newest = pc.max(self.batch.column("timestamp").cast(pa.int64())).as_py()
        return (self.arrived_ms if newest is None else newest) / 1000

    @property
    def replayed(self) -> str | None:
        """The replay that delivers it again on purpose; its rows may be there already."""
        replay = self.event.extensions.get(REPLAYED)
        return None if replay in ("", "false") else replay
