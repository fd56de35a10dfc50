"""Joins the rollups of many devices into groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sensor_gateway.aggregates.models import Function, Group
from sensor_gateway.domain import Span
from sensor_gateway.filters import among_devices
from sensor_gateway.rollups.bindings import Bindings
from sensor_gateway.rollups.coverage import Coverage
from sensor_gateway.rollups.resolution import Resolution
from sensor_gateway.rollups.source import NUMBERS, source, start_of, statistics
from sensor_shared.adapters.database import Database

_KINDS: Final[dict[Function, str]] = {
    "count": "UInt64",
    "min": NUMBERS,
    "max": NUMBERS,
    "avg": "Nullable(Float64)",
    "last": NUMBERS,
}
_COLUMN: Final[dict[Group, str]] = {
    "region": "region",
    "type": "device_type",
    "device": "device_id",
}
_SETTINGS: Final = (
    "SETTINGS date_time_output_format = 'iso', output_format_json_quote_decimals = 0, "
    "output_format_json_quote_64bit_integers = 0, output_format_json_named_tuples_as_objects = 1"
)


@dataclass(frozen=True, slots=True)
class Grouping:
    """What is to be summarised, and how.

    Attributes:
        span: in whole periods of `resolution`.
        resolution: of the rollups that are joined; not raw.
        by: what makes a group.
        periods: whether each minute, hour or day is a row of its own.
        metrics: of `METRICS`.
        functions: of each metric.
        top: metric and function whose largest values come first; None: by group and time.
        limit: rows at most.
        devices, regions, types: all that are given must fit; empty is no condition.
    """

    span: Span
    resolution: Resolution
    by: Sequence[Group]
    periods: bool
    metrics: Sequence[str]
    functions: Sequence[Function]
    top: tuple[str, Function] | None
    limit: int
    devices: Sequence[str] = ()
    regions: Sequence[str] = ()
    types: Sequence[str] = ()


class Aggregates:
    """Asks ClickHouse for groups."""

    def __init__(self, database: Database, coverage: Coverage):
        self._database = database
        self._coverage = coverage

    async def table(self, asked: Grouping) -> tuple[list[bytes], int]:
        """Returns rows as JSON objects, one more than asked for if there are more.

        Beside them how many minutes of the span hold late readings that they do not show.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        uncovered = await self._coverage.uncovered(asked.span.seconds)
        bindings = Bindings()
        metrics = [*asked.metrics]
        if asked.top is not None and asked.top[0] not in metrics:
            metrics.append(asked.top[0])
        rows = source(
            bindings,
            asked.span,
            asked.resolution,
            uncovered,
            where=_devices(bindings, asked),
            metrics=metrics,
        )
        keys = [f"{_COLUMN[group]} AS {group}" for group in asked.by]
        keys += [f"{start_of(asked.resolution)} AS timestamp"] if asked.periods else []
        names = [*asked.by, *(["timestamp"] if asked.periods else [])]
        columns = [*keys, "uniqExact(device_id) AS devices", "sum(n) AS readings"]
        columns += [_figures(metric, asked.functions) for metric in asked.metrics]
        grouped = f"GROUP BY {', '.join(names)}" if names else "HAVING readings > 0"
        text = await self._database.text(
            f"SELECT {', '.join(columns)} FROM ({rows}) AS measured {_places(asked.by)} "  # noqa: S608
            f"{grouped} {_order(asked, names)} LIMIT {bindings.add(asked.limit + 1, 'UInt32')} "
            f"{_SETTINGS} FORMAT JSONEachRow",
            **bindings.values,
        )
        return text.splitlines(), uncovered.behind


def _devices(bindings: Bindings, asked: Grouping) -> str:
    conditions = among_devices(bindings, asked.regions, asked.types)
    if asked.devices:
        conditions.append(f"device_id IN {bindings.add(list(asked.devices), 'Array(String)')}")
    return " AND ".join(conditions) or "true"


def _places(by: Sequence[Group]) -> str:
    if not {"region", "type"} & set(by):
        return ""
    return (
        "LEFT JOIN (SELECT device_id, region, device_type FROM devices FINAL) AS places "
        "USING device_id"
    )


def _figures(metric: str, functions: Sequence[Function]) -> str:
    named = statistics(metric)
    kinds = ", ".join(f"{function} {_KINDS[function]}" for function in functions)
    values = ", ".join(named[function] for function in functions)
    return f"CAST(tuple({values}), 'Tuple({kinds})') AS {metric}"


def _order(asked: Grouping, names: Sequence[str]) -> str:
    if asked.top is not None:
        metric, function = asked.top
        names = [f"{statistics(metric)[function]} DESC NULLS LAST", *names]
    return f"ORDER BY {', '.join(names)}" if names else ""
