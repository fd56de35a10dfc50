"""The loop: measure what is due, hand it to Kafka, keep the books on what is acknowledged."""

import threading
import time
from collections.abc import Callable

import numpy as np

from sensor_producer.books import Books
from sensor_producer.delivery import Delivery
from sensor_producer.faults import Fault
from sensor_producer.fleet import Fleet, Readings
from sensor_producer.publish import Publisher
from sensor_producer.records import RecordMaker
from sensor_producer.totals import Totals
from sensor_shared.telemetry.logs import logger
from sensor_shared.telemetry.metrics import (
    PRODUCED,
    PRODUCER_BEHIND,
    PRODUCER_FAULTS,
    PRODUCER_GENERATED,
    PRODUCER_LATENCY,
    PRODUCER_QUEUE,
    PRODUCER_RECORDS,
    observe_all,
)

_MOST_AT_ONCE = 10_000  # readings; bounds the time in which no report is served
_REPORT_S = 60.0
_STALLED_S = 30.0
_UNHEARD_S = 10.0


class Simulator:
    """Lets the fleet measure by the clock.

    Measurements have their own moments, whenever they are generated: while Kafka does not take
    records the simulator waits, and afterwards it generates what was missed, with the original
    timestamps. So nothing is dropped, and nothing piles up in memory. With a spool it only waits
    when that is full.
    """

    def __init__(
        self,
        fleet: Fleet,
        delivery: Delivery,
        maker: RecordMaker,
        publisher: Publisher,
        books: Books,
        *,
        collect: float,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ):
        self._fleet = fleet
        self._delivery = delivery
        self._maker = maker
        self._publisher = publisher
        self._books = books
        self._collect_us = round(collect * 1_000_000)
        self._clock_us = clock_us
        self._next = fleet.moments(clock_us())
        self._generated = 0
        self._totals = Totals()
        self._log = logger()
        now = time.monotonic()
        self._turned_at = self._heard_at = now

    def alive(self) -> bool:
        """Whether the loop turns."""
        return time.monotonic() - self._turned_at < _STALLED_S

    def ready(self) -> bool:
        """Whether Kafka answers, as far as anything was sent."""
        heard = time.monotonic() - self._heard_at < _UNHEARD_S
        return self.alive() and (heard or not self._publisher.pending_records)

    def detail(self) -> str:
        """What people are told about the state; "" when all is as usual."""
        return self._publisher.detail()

    def run(
        self,
        stop: threading.Event,
        *,
        duration: float | None = None,
        max_readings: int | None = None,
    ) -> None:
        """Runs until `stop` is set, `duration` seconds are over or `max_readings` are generated."""
        started = reported = time.monotonic()
        while not stop.is_set():
            now = self._turned_at = time.monotonic()
            if duration is not None and now - started >= duration:
                return
            room = _MOST_AT_ONCE if max_readings is None else max_readings - self._generated
            if room <= 0:
                return
            caught_up = self._advance(room)
            self._settle()
            self._publisher.poll(self._until_next_tick() if caught_up else 0)
            if now - reported >= _REPORT_S:
                reported = now
                self._report("running")

    def finish(self, timeout: float) -> int:
        """Delivers what is held back, waits for acknowledgements, closes the ledger.

        Returns:
            How many readings are not acknowledged after `timeout` seconds, and not on disk either.
        """
        held = self._delivery.drain()
        if held is not None:
            self._publisher.send(self._maker.make(held))
        deadline = time.monotonic() + timeout
        while self._publisher.pending_records and time.monotonic() < deadline:
            self._publisher.poll(0.01)
            self._settle()
        self._settle()
        left = self._publisher.pending_readings
        lost = self._publisher.close()
        self._books.close(unacknowledged=left)
        self._report(
            "stopped",
            unacknowledged=left,
            spooled=left - lost,
            cpu_seconds=round(time.process_time(), 2),
        )
        return lost

    def _advance(self, room: int) -> bool:
        """Generates what is due, unless Kafka has to catch up first; tells whether that is all."""
        now_us = self._clock_us()
        if not self._publisher.congested:
            due = self._fleet.moments(now_us)
            last = min(due, self._next + _MOST_AT_ONCE)
            if last > self._next:
                readings = self._fleet.measure(self._next, last)[:room]
                self._count(readings, silent=last - self._next - len(readings))
                self._next = last
                ready = self._delivery.release(readings, now_us // 1000)
                self._publisher.send(self._maker.make(ready))
        behind_us = max(0, now_us - self._fleet.moment_us(self._next))
        PRODUCER_BEHIND.set(behind_us / 1_000_000)
        PRODUCER_QUEUE.set(self._publisher.queued_records)
        return behind_us == 0 or self._publisher.congested

    def _until_next_tick(self) -> float:
        return (self._collect_us - self._clock_us() % self._collect_us) / 1_000_000

    def _count(self, readings: Readings, silent: int) -> None:
        self._generated += len(readings)
        PRODUCER_GENERATED.inc(len(readings))
        PRODUCER_FAULTS.labels("silent").inc(silent)
        for fault in Fault:
            count = int(np.count_nonzero(readings.suffering(fault)))
            if count:
                assert fault.name is not None  # noqa: S101  (single flags have names)
                PRODUCER_FAULTS.labels(fault.name.lower()).inc(count)

    def _settle(self) -> None:
        """Books what was acknowledged since the last time."""
        acknowledged = self._publisher.take_acknowledged()
        if acknowledged:
            self._heard_at = time.monotonic()
            readings = Readings.join([one.record.readings for one in acknowledged])
            sizes = [len(one.record.readings) for one in acknowledged]
            heard_ms = np.repeat([one.at_ms for one in acknowledged], sizes)
            observe_all(PRODUCER_LATENCY, heard_ms - readings.timestamp_ms)
            PRODUCER_RECORDS.inc(len(acknowledged))
            PRODUCED.inc(len(readings))
            self._totals += Totals.of(readings)
            self._books.add(acknowledged)
        self._books.flush()

    def _report(self, event: str, **further: object) -> None:
        self._log.info(
            event,
            acknowledged=self._totals.acknowledged,
            distinct=self._totals.distinct,
            repeated=self._totals.repeated,
            invalid=self._totals.invalid,
            waiting=self._publisher.pending_readings,
            **further,
        )
