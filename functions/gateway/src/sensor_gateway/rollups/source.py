"""Composes the rows that an answer summarises: as coarse as the rollups are right.

A day with a minute that the rollups do not cover is made of its hours, such an hour of its
minutes, and such a minute of its readings. So an answer never misses what is stored, and reads
little more than the rollups alone.
"""

from collections.abc import Sequence
from typing import Final

from sensor_gateway.domain import Span
from sensor_gateway.rollups.bindings import Bindings
from sensor_gateway.rollups.coverage import Uncovered
from sensor_gateway.rollups.resolution import PERIOD_MS, Resolution
from sensor_gateway.rollups.stretches import joined, within, without

_COLUMNS: Final = ("count", "sum", "min", "max", "last")
_TABLES: Final = {
    Resolution.DAY: "readings_day",
    Resolution.HOUR: "readings_hour",
    Resolution.MINUTE: "readings_minute",
}
_START: Final = {
    Resolution.DAY: "toStartOfDay",
    Resolution.HOUR: "toStartOfHour",
    Resolution.MINUTE: "toStartOfMinute",
}
NUMBERS: Final = "Nullable(Decimal(9, 3))"
STATISTICS: Final = (
    f"Tuple(count UInt64, min {NUMBERS}, max {NUMBERS}, avg Nullable(Float64), last {NUMBERS})"
)
"""ClickHouse's type of what is said of one metric."""


def start_of(resolution: Resolution, column: str = "at") -> str:
    """Returns the expression for where the minute, hour or day of a moment begins."""
    return f"toDateTime64({_START[resolution]}({column}), 3, 'UTC')"


def statistics(metric: str) -> dict[str, str]:
    """Returns what is said of a metric's joined rows, by name, as expressions over `source`.

    Missing values are in none of it; `last` is that of the newest row.
    """
    count, total = f"sum({metric}_count)", f"sum({metric}_sum)"
    return {
        "count": count,
        "min": f"min({metric}_min)",
        "max": f"max({metric}_max)",
        "avg": f"toFloat64({total}) / nullIf({count}, 0)",
        "last": f"argMax({metric}_last, at)",
    }


def source(
    bindings: Bindings,
    span: Span,
    resolution: Resolution,
    uncovered: Uncovered,
    *,
    where: str,
    metrics: Sequence[str],
) -> str:
    """Returns a query whose rows, joined, are what was measured in a span.

    Its columns: device_id, at (where the row's own period begins), n (readings), and of each
    metric count, sum, min, max and last.

    Args:
        bindings: of the query that this becomes a part of.
        span: in whole periods of `resolution`.
        resolution: the coarsest that rows may have; not raw.
        uncovered: where rollups are not to be used.
        where: a condition on `device_id`.
        metrics: of `METRICS`.
    """
    wanted = [span.seconds]
    parts = []
    for level, table in _TABLES.items():
        if PERIOD_MS[level] > PERIOD_MS[resolution]:
            continue
        holes = joined(uncovered.stretches, PERIOD_MS[level] // 1_000)
        if whole := without(wanted, holes):
            columns = ", ".join(f"{metric}_{column}" for metric in metrics for column in _COLUMNS)
            parts.append(
                f"SELECT device_id, time AS at, readings AS n, {columns} FROM {table} FINAL "  # noqa: S608
                f"WHERE {where} AND ({bindings.during('time', whole)})"
            )
        wanted = within(wanted, holes)
    if wanted:
        columns = ", ".join(_of_readings(metric) for metric in metrics)
        parts.append(
            f"SELECT device_id, toStartOfMinute(timestamp) AS at, count() AS n, {columns} "  # noqa: S608
            f"FROM readings FINAL WHERE {where} AND ({bindings.during('timestamp', wanted)}) "
            "GROUP BY device_id, at"
        )
    return " UNION ALL ".join(parts)


def _of_readings(metric: str) -> str:
    return (
        f"count({metric}) AS {metric}_count, ifNull(sum({metric}), 0) AS {metric}_sum, "
        f"min({metric}) AS {metric}_min, max({metric}) AS {metric}_max, "
        f"argMax({metric}, timestamp) AS {metric}_last"
    )
