"""Holds the consumer path at one rate and tells whether it keeps up."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from load.bench.flow import feed, meter
from load.bench.flow.bed import Bed, BenchError
from sensor_local.figures import Scrape, quantile

WIRING = ("01-sensor-data-to-consumer.yaml", "06-dead-letters.yaml")
"""The dispatcher feeds the consumer alone."""

PARTS = ("kafka", "clickhouse", "redis", "mail", "topics", "migrations", "alerts", "consumer")
"""Alerts takes what the consumer reports, as it would anywhere."""

LOAD = "load generator"
_STORED = "sensor_consumer_readings_stored_total"
STEADY_SLOPE = 0.01
_LONGEST_BACKLOG = 1.0
_HOPELESS_BACKLOG = 3.0
_SETTLED_BACKLOG = 0.1
_SETTLE_SECONDS = 10.0
_FIRST_LINE_SECONDS = 30.0


class Load:
    """A feed as a process of its own, while the context lasts."""

    def __init__(self, bed: Bed, *words: str):
        self._bed = bed
        self._words = words
        self._last: dict[str, float] = {}
        self._first = threading.Event()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        output = self._bed.spawn(
            LOAD,
            [sys.executable, "-m", "load.bench.flow.feed", *self._words],
            self._bed.environment("producer"),
            read=True,
        )
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()
        deadline = time.monotonic() + _FIRST_LINE_SECONDS
        while not self._first.wait(0.2):
            if self._bed.ended(LOAD) or time.monotonic() > deadline:
                raise BenchError(f"the load generator says nothing:\n{self._bed.log(LOAD)}")
        return self

    def _read(self, output: IO[str]) -> None:
        for line in feed.read(iter(output)):
            self._last = line
            self._first.set()
        output.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bed.stop(LOAD)
        if self._reader:
            self._reader.join()

    def wait(self) -> None:
        """Waits until it has ended by itself."""
        while not self._bed.ended(LOAD):
            time.sleep(0.2)

    @property
    def acknowledged(self) -> int:
        """Readings that Kafka has, all that were sent once the context is left.

        Raises:
            BenchError: when it ended in the middle.
        """
        if self._reader and not self._reader.is_alive() and not self._last.get("last"):
            raise BenchError(f"the load generator has failed:\n{self._bed.log(LOAD)}")
        return int(self._last["acknowledged"])

    @property
    def at(self) -> float:
        """When that was so, seconds of the monotonic clock."""
        return self._last["at"]

    @property
    def records(self) -> int:
        """Records that Kafka has."""
        return int(self._last["records"])


@dataclass(frozen=True)
class Backlog:
    """Readings sent and not stored, sampled over a window.

    Attributes:
        seconds: of each sample, since the window's begin.
        readings: at that time.
        offered: readings per second that were sent in the window.
    """

    seconds: Sequence[float]
    readings: Sequence[float]
    offered: float

    @property
    def slope(self) -> float:
        """How fast it grows, as a share of what is offered (least squares)."""
        return float(np.polyfit(self.seconds, self.readings, 1)[0]) / self.offered

    @property
    def longest(self) -> float:
        """The largest backlog, in seconds of what is offered."""
        return max(self.readings) / self.offered

    def held(self, asked: float, slope: float = STEADY_SLOPE) -> bool:
        """Tells whether the rate was held.

        The load came within 2 % of what was asked (some devices are silent), the backlog grew
        by less than `slope`, and never was more than one second's readings.
        """
        return (
            self.offered >= 0.98 * asked and self.slope < slope and self.longest <= _LONGEST_BACKLOG
        )


@dataclass(frozen=True)
class Held:
    """What one rate has shown."""

    asked: float
    held: bool
    offered: float
    stored: float
    """Readings per second."""
    backlog_seconds: float
    backlog_slope: float
    readings_per_record: float
    stored_p99_ms: float | None
    cores: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Returns what a report says about it."""
        return {
            "asked": round(self.asked),
            "held": self.held,
            "offered": round(self.offered),
            "stored": round(self.stored),
            "backlog_seconds": round(self.backlog_seconds, 3),
            "backlog_slope": round(self.backlog_slope, 4),
            "readings_per_record": round(self.readings_per_record),
            "stored_p99_ms": None if self.stored_p99_ms is None else round(self.stored_p99_ms, 1),
            "cpu_cores": {name: round(value, 3) for name, value in self.cores.items()},
        }


def hold(
    bed: Bed,
    form: str,
    rate: float,
    *,
    warm_up: float,
    seconds: float,
    slope: float = STEADY_SLOPE,
    tell: Callable[[str], None],
) -> Held:
    """Offers one rate for a while, then lets the path drain and counts the rows.

    Args:
        bed: with `PARTS` and the dispatcher.
        form: of the records.
        rate: readings per second.
        warm_up: seconds before the window, and up to ten more until what gathered is stored.
        seconds: of the window; it ends early when the backlog is hopeless.
        slope: of the backlog that still counts as held, as a share of the rate.
        tell: takes one line for people.

    Raises:
        BenchError: when what is stored is not what was sent.
    """
    rows_before = _rows(bed)
    stored_before = bed.scrape("consumer").total(_STORED) or 0.0
    with Load(bed, "--form", form, "--rate", f"{rate:.0f}") as load:

        def waiting(seen: Scrape) -> float:
            stored = (seen.total(_STORED) or 0.0) - stored_before
            return max(0.0, load.acknowledged - stored)

        time.sleep(warm_up)
        # What gathers while all begin is no sign of what can be held.
        settled_by = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < settled_by and (
            waiting(bed.scrape("consumer")) >= _SETTLED_BACKLOG * rate
        ):
            time.sleep(0.5)
        first = bed.scrape("consumer")
        sent_first, records_first, sent_at = load.acknowledged, load.records, load.at
        cpu = meter.sample(bed.pids())
        began = time.monotonic()
        now, times, backlog = first, list[float](), list[float]()
        while time.monotonic() - began < seconds:
            time.sleep(min(1.0, seconds / 10))
            now = bed.scrape("consumer")
            times.append(time.monotonic() - began)
            backlog.append(waiting(now))
            if len(times) > 2 and backlog[-1] > _HOPELESS_BACKLOG * rate:
                break
        took = load.at - sent_at
        sent, records = load.acknowledged - sent_first, load.records - records_first
        cores = meter.cores(cpu, meter.sample(bed.pids()))
    lag = Backlog(times, backlog, sent / took)
    latency = "sensor_stored_latency_ms"
    held = Held(
        asked=rate,
        held=lag.held(rate, slope),
        offered=lag.offered,
        stored=((now.total(_STORED) or 0.0) - (first.total(_STORED) or 0.0)) / (now.at - first.at),
        backlog_seconds=lag.longest,
        backlog_slope=lag.slope,
        readings_per_record=sent / max(1, records),
        stored_p99_ms=quantile(0.99, first.buckets(latency), now.buckets(latency)),
        cores=cores,
    )
    bed.drain()
    rows = _rows(bed) - rows_before
    if rows != load.acknowledged:
        raise BenchError(f"{load.acknowledged:,} readings were sent, but {rows:,} stored")
    tell(
        f"{form}: {rate:,.0f}/s {'held' if held.held else 'not held'} "
        f"(stored {held.stored:,.0f}/s, backlog up to {held.backlog_seconds:.2f} s, "
        f"{held.backlog_slope:+.1%}); {rows:,} of {load.acknowledged:,} readings stored"
    )
    return held


def _rows(bed: Bed) -> int:
    """Distinct readings in the table: counted by key, whatever merges have done."""
    return bed.number("SELECT count() FROM (SELECT device_id, timestamp FROM readings FINAL)")
