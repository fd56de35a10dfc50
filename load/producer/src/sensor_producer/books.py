"""The books: each acknowledgement goes to the ledger of the run that made the record."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from sensor_producer.fleet import Readings
from sensor_producer.ledger import FLUSH_S, Ledger
from sensor_producer.publish import Acknowledged
from sensor_shared.telemetry.logs import logger


class Books:
    """The ledger of this run, and those of earlier runs whose spool is sent now."""

    def __init__(self, own: Ledger | None, resume: Callable[[str], Ledger | None]):
        """`resume` opens the ledger of an earlier run; None when there is none."""
        self._own = own
        self._resume = resume
        self._ledgers: dict[str, Ledger | None] = {"": own}
        self._flushed_at = time.monotonic()

    def add(self, acknowledged: Iterable[Acknowledged]) -> None:
        """Enters the readings of records that Kafka has acknowledged."""
        by_run: defaultdict[str, list[Readings]] = defaultdict(list)
        for one in acknowledged:
            by_run[one.record.run].append(one.record.readings)
        for run, readings in by_run.items():
            ledger = self._ledger(run)
            if ledger is not None:
                ledger.add(Readings.join(readings))

    def flush(self) -> None:
        """Writes what is new, once in `FLUSH_S` seconds."""
        if time.monotonic() - self._flushed_at >= FLUSH_S:
            self._flush()

    def close(self, unacknowledged: int) -> None:
        """Ends this run; `unacknowledged` readings of it were sent without an answer."""
        self._flush()
        if self._own is not None:
            self._own.close(unacknowledged=unacknowledged)

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        for ledger in self._ledgers.values():
            if ledger is not None:
                ledger.flush()

    def _ledger(self, run: str) -> Ledger | None:
        if run not in self._ledgers:
            self._ledgers[run] = self._resume(run)
            if self._ledgers[run] is None and self._own is not None:
                logger().warning("an earlier run's spool is sent, but it has no ledger", run=run)
        return self._ledgers[run]
