"""The statements that make rollups anew: minutes from raw rows, hours and days from finer ones."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sensor_shared.contracts.readings import METRICS
from sensor_shared.contracts.rollups import MINUTE

_DEVICES: Final = "device_id > {after:String} AND device_id <= {to:String}"
HOUR: Final = 3_600
DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Level:
    """One table of rollups.

    Attributes:
        table: its name.
        seconds: what one row summarises.
        time: column of the source that tells when.
        statement: makes rows anew; `%s` in it stands for a condition on `time`.
        slices: of the finest level that one statement takes.
    """

    table: str
    seconds: int
    time: str
    statement: str
    slices: int

    def remake(self, moments: Collection[int]) -> str:
        """Returns the statement for the rows that these moments, epoch seconds, fall into.

        Its parameters `after` and `to` say of which devices: ids above the one, up to the other.
        """
        periods = condition(self.time, stretches(moments, self.seconds))
        return self.statement % f"({periods}) AND {_DEVICES}"


def stretches(moments: Collection[int], seconds: int) -> list[tuple[int, int]]:
    """Returns the periods that the moments fall into, joined where they meet, end excluded."""
    joined: list[tuple[int, int]] = []
    for start in sorted({moment // seconds * seconds for moment in moments}):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], start + seconds)
        else:
            joined.append((start, start + seconds))
    return joined


def condition(column: str, spans: Collection[tuple[int, int]]) -> str:
    """Returns a condition that ClickHouse can compare with the bounds of each part.

    With milliseconds, as raw rows have them: the engine rounds a bound of 59.520 s up when it
    compares it with a whole second, and then leaves out a part that it should read.
    """
    return " OR ".join(
        f"({column} >= {_moment(start)} AND {column} < {_moment(end)})" for start, end in spans
    )


def _moment(seconds: int) -> str:
    return f"toDateTime64({seconds}, 3, 'UTC')"


# The version is taken before the rows are read: now64 is fixed when a query is analysed. So of two
# rows the one with the higher version has seen all that the other has. PREWHERE before FINAL is
# exact here, because rows that replace each other have the same time.
_COLUMNS: Final = ("count", "sum", "min", "max", "last")
_HEAD: Final = (
    "INSERT INTO {table} (device_id, time, readings, "
    + ", ".join(f"{metric}_{column}" for metric in METRICS for column in _COLUMNS)
    + ", version) SELECT device_id, {period} AS period, {readings}, "
)
_TAIL: Final = (
    ", now64(6) FROM {source} FINAL PREWHERE %s GROUP BY device_id, period "
    "SETTINGS optimize_aggregation_in_order = 1, do_not_merge_across_partitions_select_final = 1"
)
_FROM_READINGS: Final = ", ".join(
    f"count({metric}), ifNull(sum({metric}), 0), min({metric}), max({metric}), "
    f"argMax({metric}, timestamp)"
    for metric in METRICS
)
_FROM_ROLLUPS: Final = ", ".join(
    f"sum({metric}_count), sum({metric}_sum), min({metric}_min), max({metric}_max), "
    f"argMax({metric}_last, time)"
    for metric in METRICS
)


def _level(table: str, seconds: int, time: str, start: str, source: str, *, slices: int) -> Level:
    raw = source == "readings"
    statement = (_HEAD + (_FROM_READINGS if raw else _FROM_ROLLUPS) + _TAIL).format(
        table=table,
        period=f"{start}({time})",
        readings="count()" if raw else "sum(readings)",
        source=source,
    )
    return Level(table, seconds, time, statement, slices)


MINUTES: Final = _level(
    "readings_minute", MINUTE, "timestamp", "toStartOfMinute", "readings", slices=1
)
HOURS: Final = _level("readings_hour", HOUR, "time", "toStartOfHour", "readings_minute", slices=2)
DAYS: Final = _level("readings_day", DAY, "time", "toStartOfDay", "readings_hour", slices=5)
LEVELS: Final = (MINUTES, HOURS, DAYS)
"""From fine to coarse: each is made from the one before it."""
