"""What ClickHouse answers about one device over time, as JSON that goes out as it is."""

import asyncio
from collections.abc import Sequence
from typing import Final

from sensor_gateway.history.question import Question
from sensor_gateway.rollups.bindings import Bindings
from sensor_gateway.rollups.coverage import Coverage
from sensor_gateway.rollups.resolution import Resolution
from sensor_gateway.rollups.source import STATISTICS, source, start_of, statistics
from sensor_shared.adapters.database import Database

_JSON: Final = (
    "SETTINGS date_time_output_format = 'iso', output_format_json_quote_decimals = 0, "
    "output_format_json_quote_64bit_integers = 0, output_format_json_named_tuples_as_objects = 1 "
    "FORMAT JSONEachRow"
)
_PLACE: Final = "SELECT 1 FROM devices WHERE device_id = {device:String} LIMIT 1"
_READINGS: Final = """
SELECT timestamp, {columns}
FROM readings FINAL
WHERE device_id = {device}
  AND timestamp >= fromUnixTimestamp64Milli({start}, 'UTC')
  AND timestamp < fromUnixTimestamp64Milli({end}, 'UTC')
"""
# The points that the algorithm picks are found by its own aggregate function: Steinarsson, S.,
# "Downsampling Time Series for Visual Representation", University of Iceland, 2013, section 4.2
# (Largest Triangle Three Buckets). It tells time and height, so the rest is looked up by time.
_PICKED: Final = """
WITH points AS ({points})
SELECT {columns} FROM points
WHERE timestamp IN (SELECT arrayJoin(lttb({count})(timestamp, {height})).1 FROM points)
ORDER BY timestamp {direction}
"""


class Histories:
    """The readings of a device, raw or summarised."""

    def __init__(self, database: Database, coverage: Coverage):
        self._database = database
        self._coverage = coverage

    async def knows(self, device_id: str) -> bool:
        """Tells whether the device has ever sent a reading.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        return bool(await self._database.rows(_PLACE, device=device_id))

    async def behind(self, asked: Question) -> int:
        """Returns how many minutes of the span hold late readings that the answer does not show.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        if asked.resolution is Resolution.RAW:
            return 0
        return (await self._coverage.uncovered(asked.span.seconds)).behind

    async def page(self, device_id: str, asked: Question, metrics: Sequence[str]) -> list[bytes]:
        """Returns the first points of the span as JSON objects, one more than a page holds.

        Args:
            device_id: of the device.
            asked: a page.
            metrics: of `METRICS`, in the order wanted.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        bindings = Bindings()
        if asked.resolution is Resolution.RAW:
            columns = ", ".join([*metrics, "status"])
            points = _readings(bindings, device_id, asked, columns)
            # By the whole key, so that rows are read in its order and no further than the limit.
            keys = ["device_id", "timestamp"]
        else:
            tuples = ", ".join(
                f"CAST(({', '.join(statistics(one).values())}), '{STATISTICS}') AS {one}"
                for one in metrics
            )
            columns = f"sum(n) AS readings, {tuples}"
            points = await self._buckets(bindings, device_id, asked, columns, metrics)
            keys = ["timestamp"]
        order = ", ".join(f"{key} {_direction(asked)}" for key in keys)
        limit = bindings.add(asked.limit + 1, "UInt32")
        text = await self._database.text(
            f"{points} ORDER BY {order} LIMIT {limit} {_JSON}", **bindings.values
        )
        return text.splitlines()

    async def charts(
        self, device_id: str, asked: Question, metrics: Sequence[str]
    ) -> list[list[bytes]]:
        """Returns for each metric the points that keep the shape of its line, as JSON objects.

        Args:
            device_id: of the device.
            asked: a chart; the line of minutes, hours and days is that of their averages.
            metrics: of `METRICS`.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        return await asyncio.gather(*(self._chart(device_id, asked, one) for one in metrics))

    async def _chart(self, device_id: str, asked: Question, metric: str) -> list[bytes]:
        bindings = Bindings()
        if asked.resolution is Resolution.RAW:
            line = _readings(bindings, device_id, asked, f"{metric} AS value")
            line += f" AND {metric} IS NOT NULL"
            columns, height = "timestamp, value", "value"
        else:
            named = statistics(metric)
            columns = ", ".join(["timestamp", *named])
            parts = ", ".join(f"{expression} AS {name}" for name, expression in named.items())
            line = await self._buckets(bindings, device_id, asked, parts, [metric])
            line += f" HAVING sum({metric}_count) > 0"
            height = "avg"
        query = _PICKED.format(
            points=line,
            columns=columns,
            count=asked.points,
            height=height,
            direction=_direction(asked),
        )
        return (await self._database.text(query + _JSON, **bindings.values)).splitlines()

    async def _buckets(
        self,
        bindings: Bindings,
        device_id: str,
        asked: Question,
        columns: str,
        metrics: Sequence[str],
    ) -> str:
        rows = source(
            bindings,
            asked.span,
            asked.resolution,
            await self._coverage.uncovered(asked.span.seconds),
            where=f"device_id = {bindings.add(device_id, 'String')}",
            metrics=metrics,
        )
        return (
            f"SELECT {start_of(asked.resolution)} AS timestamp, {columns} "  # noqa: S608
            f"FROM ({rows}) GROUP BY timestamp"
        )


def _readings(bindings: Bindings, device_id: str, asked: Question, columns: str) -> str:
    return _READINGS.format(
        columns=columns,
        device=bindings.add(device_id, "String"),
        start=bindings.add(asked.span.start_ms, "Int64"),
        end=bindings.add(asked.span.end_ms, "Int64"),
    )


def _direction(asked: Question) -> str:
    return "DESC" if asked.order == "newest" else "ASC"
