"""The pass marks of the gateway, and the table that shows figures beside them."""

from collections.abc import Mapping
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from load.bench.api.history import MARK_MS
from load.bench.api.latest_value import MARK_PER_CORE
from load.bench.mark import Mark

MARKS: Final = (
    Mark(
        "api.latest.most.requests_per_core",
        "api: latest value",
        MARK_PER_CORE,
        "≥",
        "requests/s of a core",
    ),
    Mark("api.latest.paced.p99_ms", "api: latest value at 3,000/s, p99", 10, "≤", "ms"),
    Mark("api.device_list.p99_ms", "api: any page of 100,000 devices, p99", 50, "≤", "ms"),
    Mark("api.history.minutes.p99_ms", "api: a day of minutes, p99", MARK_MS, "≤", "ms"),
)


def table(results: Mapping[str, Any]) -> Table:
    """Returns the figures that were measured beside their marks."""
    made = Table("figure", title_justify="left")
    for heading in ("measured", "pass mark", "verdict"):
        made.add_column(heading, justify="right")
    for mark in MARKS:
        value = mark.value(results)
        bound = f"{mark.sense} {mark.bound:,} {mark.unit}"
        if value is None:
            made.add_row(mark.name, "not measured", bound, "")
            continue
        style = "green" if mark.met(value) else "bold red"
        made.add_row(mark.name, f"{value:,.1f}", bound, Text(mark.verdict(value), style=style))
    return made
