"""When a reading is delivered: at once, late, or twice."""

import numpy as np

from sensor_producer.dice import Dice, Purpose
from sensor_producer.faults import Fault, FaultSettings
from sensor_producer.fleet import Readings

_LATE_MS = (1_000, 30_000)
_REPEATED_MS = (500, 5_000)


class Delivery:
    """Holds back what is late, and a second copy of what is repeated, until their time.

    What is held was measured, but not yet handed over: a device's own buffer.
    """

    def __init__(self, dice: Dice, faults: FaultSettings):
        self._dice = dice
        self._faults = faults
        self._held: Readings | None = None
        self._due_ms = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """Number of readings held back."""
        return len(self._due_ms)

    def release(self, measured: Readings, now_ms: int) -> Readings:
        """Takes what was measured; returns what is to be delivered now (epoch ms).

        A second copy is never returned together with the first one.
        """
        ready = self._take(self._due_ms <= now_ms)
        late = self._chosen(measured, Purpose.LATE, self._faults.late)
        repeated = self._chosen(measured, Purpose.REPEATED, self._faults.repeated)
        repeated &= ~late & ~measured.suffering(Fault.FAILED)
        if late.any():
            self._hold(measured[late], Fault.LATE, Purpose.LATE_DELAY, _LATE_MS)
            measured = measured[~late]
            repeated = repeated[~late]
        if repeated.any():
            self._hold(measured[repeated], Fault.REPEATED, Purpose.REPEATED_DELAY, _REPEATED_MS)
        return measured if ready is None else Readings.join([ready, measured])

    def drain(self) -> Readings | None:
        """Returns all that is held back, for the end of a run."""
        return self._take(np.ones(len(self), dtype=np.bool_))

    def _chosen(
        self, readings: Readings, purpose: Purpose, share: float
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return self._dice.uniform(purpose, readings.device, readings.timestamp_ms) < share

    def _hold(
        self, readings: Readings, mark: Fault, purpose: Purpose, span_ms: tuple[int, int]
    ) -> None:
        readings.faults[:] |= np.uint16(mark)  # a mask has made this a copy
        share = self._dice.uniform(purpose, readings.device, readings.timestamp_ms)
        delay = span_ms[0] + share * (span_ms[1] - span_ms[0])
        self._held = readings if self._held is None else Readings.join([self._held, readings])
        self._due_ms = np.append(self._due_ms, readings.timestamp_ms + delay.astype(np.int64))

    def _take(self, due: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Readings | None:
        if self._held is None or not due.any():
            return None
        taken = self._held[due]
        self._held = self._held[~due]
        self._due_ms = self._due_ms[~due]
        return taken
