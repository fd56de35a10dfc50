"""*baseline*: the consumer path beside one plain process, with the same load at the same rate."""

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from load.bench.flow import meter
from load.bench.flow.bed import Bed, BenchError
from load.bench.flow.holding import WIRING, Held, Load, hold

PATH = ("dispatcher", "consumer", "redis")
"""What lies between Kafka and ClickHouse's socket, the latest values included. The whole path has
ClickHouse besides, as the plain process has."""

PLAIN = "plain"
_LINGER = 0.025
"""Seconds that the plain process collects for, as one would write it."""
_LONG_LINGER = 0.1
"""As long as the consumer collects for above 50,000 readings/s."""
_ASSIGNED_SECONDS = 30.0
_STORED_SECONDS = 60.0


class Plain:
    """What the plain process says."""

    def __init__(self, output: IO[str]):
        self.assigned = threading.Event()
        self.rows = 0
        self.inserts = 0
        self._output = output
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._output:
            said = json.loads(line)
            if "assigned" in said:
                self.assigned.set()
            self.rows = said.get("rows", self.rows)
            self.inserts = said.get("inserts", self.inserts)
        self._output.close()


def measure(
    bed: Bed, rate: float, *, warm_up: float, seconds: float, tell: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns what a report says about the baseline, and the ratios of CPU to it.

    Args:
        bed: with the parts of the consumer path and the dispatcher, which runs again afterwards.
        rate: readings per second, which the path holds.
        warm_up: seconds before each window.
        seconds: of each window.
        tell: takes one line for people.

    Raises:
        BenchError: when either stores something else than was sent.
    """
    path = hold(bed, "arrow", rate, warm_up=warm_up, seconds=seconds, tell=tell)
    bed.stop("dispatcher")
    try:
        plain, inserts = _plain(bed, rate, _LINGER, warm_up=warm_up, seconds=seconds)
        patient, _ = _plain(bed, rate, _LONG_LINGER, warm_up=warm_up, seconds=seconds)
    finally:
        bed.start_dispatcher(*WIRING)
        bed.drain()
    ratios = compare(path.cores, path.stored, plain.cores, plain.stored)
    patiently = compare(path.cores, path.stored, patient.cores, patient.stored)
    ratios["to_plain_with_long_linger"] = patiently["cpu_per_million_readings"]
    tell(
        f"baseline: {plain.stored:,.0f}/s with {plain.cores[PLAIN]:.2f} cores, the path "
        f"{path.stored:,.0f}/s with {sum(path.cores.get(name, 0.0) for name in PATH):.2f}"
    )
    document = {
        "readings_per_second": round(plain.stored),
        "inserts_per_second": round(inserts, 1),
        "cpu_per_million_readings": round(per_million(plain.cores[PLAIN], plain.stored), 3),
        "cpu_cores": {name: round(value, 3) for name, value in plain.cores.items()},
        "path": path.as_json(),
    }
    return document, {name: round(value, 3) for name, value in ratios.items()}


def per_million(cores: float, rate: float) -> float:
    """Returns CPU seconds per million readings, of cores in use and readings per second."""
    return cores / rate * 1_000_000


def compare(
    path: dict[str, float], path_rate: float, plain: dict[str, float], plain_rate: float
) -> dict[str, float]:
    """Returns the ratios of CPU per reading, the consumer path to the plain process.

    Args:
        path: cores of each process while the path stored `path_rate` readings per second.
        path_rate: see there.
        plain: cores of each process while the plain process did it.
        plain_rate: readings per second of the plain process.
    """

    def ratio(ours: tuple[str, ...], theirs: tuple[str, ...]) -> float:
        cost = per_million(sum(path[name] for name in ours), path_rate)
        return cost / per_million(sum(plain[name] for name in theirs), plain_rate)

    return {
        "cpu_per_million_readings": ratio((*PATH, "clickhouse"), (PLAIN, "clickhouse")),
        "without_clickhouse": ratio(PATH, (PLAIN,)),
        "without_clickhouse_and_redis": ratio(PATH[:2], (PLAIN,)),
        "clickhouse_alone": ratio(("clickhouse",), ("clickhouse",)),
    }


def _plain(
    bed: Bed, rate: float, linger: float, *, warm_up: float, seconds: float
) -> tuple[Held, float]:
    """Returns what the plain process has shown, and its inserts per second."""
    table = f"plain_{linger * 1000:.0f}"  # and a group of its own: each begins at the end
    bed.query(f"CREATE TABLE {table} AS readings")
    words = [sys.executable, "-m", "load.bench.flow.plain", table, "--linger", str(linger)]
    output = bed.spawn(PLAIN, words, bed.environment("migrations"), read=True)
    if output is None:
        raise BenchError("the plain process has no output")
    plain = Plain(output)
    try:
        if not plain.assigned.wait(_ASSIGNED_SECONDS):
            raise BenchError(f"the plain process got no partitions:\n{bed.log(PLAIN)}")
        with Load(bed, "--form", "arrow", "--rate", f"{rate:.0f}") as load:
            time.sleep(warm_up)
            rows, inserts = plain.rows, plain.inserts
            before = meter.sample(bed.pids())
            time.sleep(seconds)
            after = meter.sample(bed.pids())
            rows, inserts = plain.rows - rows, plain.inserts - inserts
        deadline = time.monotonic() + _STORED_SECONDS
        while plain.rows < load.acknowledged and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        bed.stop(PLAIN)
    stored = bed.number(f"SELECT count() FROM {table} FINAL")  # noqa: S608 - our own name
    if stored != load.acknowledged:
        raise BenchError(f"plain: {load.acknowledged:,} sent, but {stored:,} stored")
    took = after.at - before.at
    held = Held(
        asked=rate,
        held=True,
        offered=rate,
        stored=rows / took,
        backlog_seconds=0.0,
        backlog_slope=0.0,
        readings_per_record=load.acknowledged / max(1, load.records),
        stored_p99_ms=None,
        cores=meter.cores(before, after),
    )
    bed.query(f"DROP TABLE {table}")
    return held, inserts / took
