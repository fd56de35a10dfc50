"""The report: each figure beside its pass mark, as a table and as JSON."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from load.bench.api.marks import MARKS as API_MARKS
from load.bench.flow import pace
from load.bench.flow.limits import MARKS
from load.bench.mark import Mark, Results

PASS_MARKS = (
    Mark("steady.readings_per_second", "steady: stored", 9_900, "≥", "readings/s"),
    Mark("steady.seconds", "steady: window", 60, "≥", "s"),
    Mark("steady.stored_ms.p50", "steady: stored p50", 35, "≤", "ms"),
    Mark("steady.stored_ms.p99", "steady: stored p99", 60, "≤", "ms"),
    Mark("steady.stored_ms.p999", "steady: stored p99.9", 100, "≤", "ms"),
    Mark("steady.visible_ms.p99", "steady: in Redis p99", 60, "≤", "ms"),
    Mark("steady.gateway_visible_ms.p99", "steady: seen by REST p99", 60, "≤", "ms"),
    Mark("steady.rejected_share", "steady: rejected share", 0.01, "≤"),
    Mark("steady.cpu_cores_total", "steady: CPU of all processes", 1.5, "≤", "cores"),
    Mark("steady.rss_mb_total", "steady: RSS of all processes", 2048, "≤", "MiB"),
    Mark("steady.lost", "steady: lost", 0, "≤", "readings"),
    Mark("steady.duplicated", "steady: duplicated", 0, "≤", "readings"),
    *(Mark(f"max.{form}", f"max: {form}", mark, "≥", "readings/s") for form, mark in MARKS.items()),
    Mark("ratio.cpu_per_million_readings", "CPU per reading, to the baseline", 2.5, "≤", "times"),
    Mark("bytes_per_reading", "storage per reading", 8, "≤", "bytes"),
    *API_MARKS,
)

REMARKS = (
    """Steady: 10,000 devices, one reading a second each, the producer's usual faults except
lateness and repetition: a reading that its device sends late, or once more, on purpose is no
slowness of the system. The faults that are left take up to 1 % of 10,000 readings/s.""",
    """Stored and in Redis: of all readings of the window, from the consumer's histograms,
interpolated within their buckets. By REST: single readings, chosen at random moments, asked for
every 4 ms, so up to that much too high.""",
    """Pace: work that no change of the system touches, done just before and after steady. Figures
of two runs are comparable as far as it is the same.""",
    "RSS counts memory that processes share in each of them; PSS counts it once.",
    """Max: parts, dispatcher, consumer and alerts run, and a load generator on the same machine,
whose CPU is shown. Held: over the window the backlog of readings grows by less than 1 % of the
rate and is never more than one second's. Each row is counted; 0 says that no rate was held. Single
readings go to Kafka together with those of the next 5 ms, as its clients do by default.""",
    """Api: by raw HTTP over 64 connections from a process of its own, 100,000 devices, no request
before the answer to the last one. Of a core: per second of the gateway's CPU time. Latencies count
from the moment at which a request was due.""",
    """Ratio: dispatcher, consumer, Redis and ClickHouse to the plain process and ClickHouse; the
plain process collects for 25 ms, and once more for 100 ms, as the consumer does above 50,000
readings/s; same readings, the mark's 100,000 a second, one after the other.""",
)


def document(results: Results) -> str:
    """Returns the results as the file keeps them."""
    return json.dumps(results, indent=2, ensure_ascii=False) + "\n"


def write(results: Results, path: Path) -> None:
    """Writes the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(document(results), encoding="utf-8")
    fresh.replace(path)


def misses(results: Results) -> list[Mark]:
    """Returns the marks that what was measured does not reach."""
    return [
        mark
        for mark in PASS_MARKS
        if (value := mark.value(results)) is not None and not mark.met(value)
    ]


def tables(results: Results) -> RenderableType:
    """Returns everything for a terminal."""
    missed = misses(results)
    verdict = (
        Text(f"{len(missed)} missed: {', '.join(mark.name for mark in missed)}", style="bold red")
        if missed
        else Text("every mark that was measured is met", style="green")
    )
    return Group(
        *_tables(results),
        *(Text(" ".join(remark.split()), style="dim") for remark in REMARKS),
        verdict,
    )


def _tables(results: Results) -> Iterator[RenderableType]:
    marks = _table("figure", "measured", "pass mark", "verdict")
    for mark in PASS_MARKS:
        value = mark.value(results)
        bound = f"{mark.sense} {_number(mark.bound)} {mark.unit}"
        if value is None:
            marks.add_row(mark.name, "not measured", bound, "")
            continue
        style = "green" if mark.met(value) else "bold red"
        marks.add_row(mark.name, _number(value), bound, Text(mark.verdict(value), style=style))
    yield marks
    if steady := results["steady"]:
        processes = _table("process", "cores", "RSS MiB")
        for name, used in steady["cpu_cores"].items():
            processes.add_row(name, f"{used:.3f}", _number(steady["rss_mb"][name]))
        total = _number(steady["rss_mb_total"])
        if steady["pss_mb_total"] is not None:
            total += f" (PSS {_number(steady['pss_mb_total'])})"
        processes.add_row("all", f"{steady['cpu_cores_total']:.3f}", total, style="bold")
        yield processes
        for when, found in steady.get("pace", {}).items():
            yield Text(f"pace {when} steady: {pace.words(found)}")
    if limits := results["details"].get("max"):
        yield _cores({form: one["best"] for form, one in limits.items() if one["best"]})
    if baseline := results["baseline"]:
        yield _cores({"consumer path": baseline["path"], "plain process": baseline})
        shares = ", ".join(f"{name} {value}" for name, value in results["ratio"].items())
        yield Text(f"ratios: {shares}")


def _cores(columns: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("cores used by", *columns)
    names = dict.fromkeys(name for one in columns.values() for name in one["cpu_cores"])
    for name in names:
        table.add_row(name, *(_core(one["cpu_cores"].get(name)) for one in columns.values()))
    totals = (f"{sum(one['cpu_cores'].values()):.3f}" for one in columns.values())
    table.add_row("all", *totals, style="bold")
    return table


def _core(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(first: str, *others: str) -> Table:
    table = Table(first, title_justify="left")
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _number(value: float) -> str:
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
