"""The readings of some events as plain columns, with the devices numbered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sensor_shared.contracts.readings import METRICS
from sensor_shared.contracts.windows.layout import SCALE

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Observations:
    """N readings of D devices.

    Attributes:
        device_ids: (D,) the devices, each once.
        device: (N,) index into `device_ids`.
        timestamp: (N,) epoch milliseconds.
        values: (N, metrics) thousandths of °C, % and hPa; 0 where none is given.
        given: (N, metrics) whether there is a value.
    """

    device_ids: tuple[str, ...]
    device: Integers
    timestamp: Integers
    values: Integers
    given: Mask

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.device)

    def only(self, devices: Integers) -> "Observations":
        """Returns the readings of the devices at these positions, numbered anew."""
        number = np.full(len(self.device_ids), -1, dtype=np.int64)
        number[devices] = np.arange(len(devices))
        rows = number[self.device] >= 0
        return Observations(
            device_ids=tuple(self.device_ids[i] for i in devices.tolist()),
            device=number[self.device[rows]],
            timestamp=self.timestamp[rows],
            values=self.values[rows],
            given=self.given[rows],
        )


def observe(batches: Sequence[pa.RecordBatch]) -> Observations:
    """Returns the readings of valid batches (`contracts.readings.SCHEMA`; at least one batch)."""
    table = pa.Table.from_batches(batches)
    ids = pc.dictionary_encode(table.column("device_id").combine_chunks())
    values = np.column_stack([table.column(metric).to_numpy() for metric in METRICS])
    given = ~np.isnan(values)
    return Observations(
        device_ids=tuple(ids.dictionary.to_pylist()),
        device=ids.indices.to_numpy().astype(np.int64),
        timestamp=table.column("timestamp").cast(pa.int64()).to_numpy(),
        values=np.rint(np.where(given, values, 0) * SCALE).astype(np.int64),
        given=given,
    )
