"""What `make bench` has measured, as CPU seconds per event and per reading of each process.

An event is one record in Kafka and one POST for each source; it holds many readings. Two rates
with very different records tell the two costs apart: `arrow`, many readings in each record, and
`single`, one in each (as JSON, so the cost of an event holds the decoding of one object).
What the whole system used beyond that in `steady` is taken per reading: rollups and the other
function's share of the parts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = ("kafka", "dispatcher", "consumer", "redis", "clickhouse")
"""Processes of the consumer path, measured at several rates."""
OTHERS = ("analytics", "alerts", "mqtt")
"""Measured in the whole system only."""
SOURCES = 2
"""KafkaSources that read sensor-data: the benchmark of the path has one of them."""


class ResultsError(Exception):
    """The results cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of one process.

    Attributes:
        event: of each event.
        reading: of each reading in it.
    """

    event: float
    reading: float

    def cores(self, events: float, readings: float) -> float:
        """Returns the cores in use at these rates, both per second."""
        return self.event * events + self.reading * readings


@dataclass(frozen=True, slots=True)
class Point:
    """One rate that was held: events and readings per second, cores by process."""

    events: float
    readings: float
    cores: Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """What the model takes from the results.

    Attributes:
        cost: by process.
        request: CPU seconds of the gateway for one REST request.
        memory_mib: resident memory by process.
        stored_bytes: of one reading in ClickHouse, compressed and merged.
        source: what was measured, on which machine, for people.
    """

    cost: Mapping[str, Cost]
    request: float
    memory_mib: Mapping[str, float]
    stored_bytes: float
    source: str


def read(path: Path) -> Measured:
    """Reads the results of a whole run of `make bench`.

    Raises:
        ResultsError: when the file is not there or lacks a figure.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultsError(f"{path} is not there: `make bench` measures it") from error
    except ValueError as error:
        raise ResultsError(f"{path} is no JSON: {error}") from error
    try:
        return _measured(results)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ResultsError(
            f"{path} lacks a figure ({error!r}): it must be of a whole run in which the forms "
            "`arrow` and `single` were held"
        ) from error


def separate(many: Point, one: Point, process: str) -> Cost:
    """Returns the cost of a process that explains its cores at both rates.

    Where noise makes one of the two costs negative, it is none, and the other explains `many`.
    """
    first, second = many.cores[process], one.cores[process]
    determinant = one.events * many.readings - many.events * one.readings
    event = (second * many.readings - first * one.readings) / determinant
    reading = (first * one.events - second * many.events) / determinant
    if event < 0:
        return Cost(0.0, first / many.readings)
    if reading < 0:
        return Cost(first / many.events, 0.0)
    return Cost(event, reading)


def _measured(results: Mapping[str, Any]) -> Measured:
    best = {form: results["details"]["max"][form]["best"] for form in ("arrow", "single")}
    many, one = _point(best["arrow"]), _point(best["single"])
    steady = results["steady"]
    readings = steady["readings_per_second"]
    events = readings / steady["readings_per_record"]
    cost = {}
    for process in PATH:
        alone = separate(many, one, process)
        if process == "dispatcher":
            alone = Cost(SOURCES * alone.event, SOURCES * alone.reading)
        beyond = max(0.0, steady["cpu_cores"][process] - alone.cores(events, readings))
        cost[process] = Cost(alone.event, alone.reading + beyond / readings)
    cost |= {name: Cost(0.0, steady["cpu_cores"][name] / readings) for name in OTHERS}
    requests = steady["gateway_visible_ms"]["requests"] / steady["seconds"]
    machine, commit = results["machine"], results["versions"]["commit"]
    return Measured(
        cost=cost,
        request=steady["cpu_cores"]["gateway"] / requests,
        memory_mib=steady["rss_mb"],
        stored_bytes=results["bytes_per_reading"] + 0.0,
        source=f"{machine['cpu']}, {machine['cores']} cores, commit {commit}",
    )


def _point(best: Mapping[str, Any]) -> Point:
    readings = best["stored"]
    return Point(readings / best["readings_per_record"], readings, best["cpu_cores"])
