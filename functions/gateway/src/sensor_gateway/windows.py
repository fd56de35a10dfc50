"""A device's minutes as ClickHouse knows them, and what they say over the last stretches of time.

Minutes of the last hour, and those whose rollup may not be made yet, come from the readings; older
ones from the rollup. All windows are whole minutes, the current one included, as those of
analytics: five minutes are the current one and the four before it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sensor_shared.adapters.database import Database
from sensor_shared.contracts.readings import METRICS
from sensor_shared.contracts.windows.layout import MINUTE_MS, SCALE, Sums, empty

LENGTHS: Final = {"5m": 5, "15m": 15, "1h": 60, "24h": 1_440}
"""Minutes of each window."""
_HOUR: Final = 60
_PREDECESSOR_MINUTES: Final = 20
"""How far before a window the value may lie that its first one is compared with."""
_UNSURE_MINUTES: Final = 3
"""Before the begin of the last run of the rollups, minutes that it may have left to the next."""

_MADE: Final = "SELECT intDiv(toUnixTimestamp(max(begun_at)), 60) FROM rollup_runs"
_T: Final = "(toUnixTimestamp64Milli(timestamp) % 60000)"
_SUMS: Final = ", ".join(
    f"count({m}), sumIf(t, {m} IS NOT NULL), sumIf(t * t, {m} IS NOT NULL),"
    f" sum({m}_v), sum(t * {m}_v), sum(toFloat64({m}_v) * {m}_v), min({m}_v), max({m}_v),"
    f" argMinIf({m}_v, t, {m} IS NOT NULL), argMaxIf({m}_v, t, {m} IS NOT NULL)"
    for m in METRICS
)
# Wide enough for what a Decimal(9, 3) becomes when it is multiplied.
_VALUES: Final = ", ".join(f"{m}, toInt64(toDecimal64({m}, 3) * {SCALE}) AS {m}_v" for m in METRICS)
_SPAN: Final = """
device_id = {device:String}
  AND timestamp >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
"""
_READINGS: Final = f"""
SELECT intDiv(toUnixTimestamp64Milli(timestamp), {MINUTE_MS}) AS minute, count(), {_SUMS}
FROM (SELECT timestamp, {_T} AS t, {_VALUES} FROM readings FINAL WHERE {_SPAN})
GROUP BY minute ORDER BY minute
"""  # noqa: S608  (built from constants; values are bound)
_ROLLUP_SUMS: Final = ", ".join(
    f"sum({m}_count), toInt64(sum({m}_sum) * {SCALE}),"
    f" toInt64(toDecimal64(min({m}_min), 3) * {SCALE}),"
    f" toInt64(toDecimal64(max({m}_max), 3) * {SCALE})"
    for m in METRICS
)
_ROLLUP: Final = f"""
SELECT sum(readings), {_ROLLUP_SUMS} FROM readings_minute FINAL
WHERE device_id = {{device:String}}
  AND time >= toDateTime({{start:UInt32}}, 'UTC') AND time < toDateTime({{end:UInt32}}, 'UTC')
"""  # noqa: S608  (built from constants; values are bound)
_SERIES: Final = ", ".join(
    f"arraySort(p -> p.1, groupArrayIf((ms, assumeNotNull({m}_v)), {m} IS NOT NULL)) AS {m}_series,"
    f" arrayDifference(arrayMap(p -> p.2, {m}_series)) AS {m}_steps,"
    f" arrayMap(cut -> arrayCount((p, step) -> p.1 >= cut AND abs(step) > {{threshold:Int64}},"
    f" {m}_series, {m}_steps), {{cuts:Array(Int64)}}) AS {m}_sudden"
    for m in METRICS
)
_SUDDEN: Final = f"""
SELECT {", ".join(f"{m}_sudden" for m in METRICS)} FROM (
    SELECT {_SERIES} FROM (
        SELECT toUnixTimestamp64Milli(timestamp) AS ms, {_VALUES}
        FROM readings FINAL WHERE {_SPAN}
    )
)
"""  # noqa: S608  (built from constants; values are bound)
_LAST: Final = """
SELECT toUnixTimestamp64Milli(timestamp) FROM readings WHERE device_id = {device:String}
ORDER BY device_id DESC, timestamp DESC LIMIT 1
"""
_PER_METRIC: Final = 10


@dataclass(frozen=True, slots=True)
class _Minutes:
    """Minutes with readings, ascending.

    Attributes:
        minute: (N,) since the epoch.
        readings: (N,) number.
        sums: (N,) of `layout.SUMS`.
        edges: (N, metrics, 2) first and last value, thousandths.
    """

    minute: Any
    readings: Any
    sums: Sums
    edges: Any


class Windows:
    """Asks ClickHouse about one device.

    Args:
        database: with readings and rollups.
        threshold: difference of a value from the one before that is sudden when it is more.
    """

    def __init__(self, database: Database, *, threshold: float):
        self._database = database
        self._threshold = round(threshold * SCALE)

    async def newest_ms(self, device_id: str) -> int | None:
        """Returns the time of the newest reading, epoch milliseconds; None: there is none.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        rows = await self._database.rows(_LAST, device=device_id)
        return int(rows[0][0]) if rows else None

    async def sums(self, device_id: str, last: int, count: int) -> Sums:
        """Returns `count` minutes up to `last` as analytics keeps them, shape (1, count).

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        first = last - count + 1
        found = await self._readings(device_id, first, last + 1)
        window = empty(count)
        window[found.minute - first] = found.sums
        return window.reshape(1, -1)

    async def summaries(self, device_id: str, now_ms: int) -> dict[str, dict[str, Any]]:
        """Returns what the device's readings say over each of `LENGTHS`, up to now.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        end = now_ms // MINUTE_MS + 1
        oldest = end - LENGTHS["24h"]
        [[made]] = await self._database.rows(_MADE)
        border = max(oldest, min(end - _HOUR, int(made) - _UNSURE_MINUTES))
        cuts = [(end - minutes) * MINUTE_MS for minutes in LENGTHS.values() if minutes <= _HOUR]
        recent, [rolled], [sudden] = await asyncio.gather(
            self._readings(device_id, border, end),
            self._database.rows(_ROLLUP, device=device_id, start=oldest * 60, end=border * 60),
            self._database.rows(
                _SUDDEN,
                device=device_id,
                start=cuts[-1] - _PREDECESSOR_MINUTES * MINUTE_MS,
                end=end * MINUTE_MS,
                cuts=cuts,
                threshold=self._threshold,
            ),
        )
        summaries = {}
        for at, (name, minutes) in enumerate(LENGTHS.items()):
            part = _since(recent, end - minutes)
            short = minutes <= _HOUR
            summaries[name] = {
                "start_ms": (end - minutes) * MINUTE_MS,
                "readings": int(part.readings.sum()) + (0 if short else int(rolled[0])),
                "metrics": {
                    metric: _summary(
                        part,
                        which,
                        None if short else rolled[1 + 4 * which : 5 + 4 * which],
                        sudden=int(sudden[which][at]) if short else None,
                    )
                    for which, metric in enumerate(METRICS)
                },
            }
        return summaries

    async def _readings(self, device_id: str, first: int, end: int) -> _Minutes:
        rows = await self._database.rows(
            _READINGS, device=device_id, start=first * MINUTE_MS, end=end * MINUTE_MS
        )
        sums = empty(len(rows))
        edges = np.zeros((len(rows), len(METRICS), 2), dtype=np.int64)
        for at, (_, _, *values) in enumerate(rows):
            for which in range(len(METRICS)):
                n, t, tt, v, tv, vv, low, high, first_value, last_value = values[
                    which * _PER_METRIC : (which + 1) * _PER_METRIC
                ]
                if n:
                    for name, value in zip(
                        ("n", "t", "tt", "v", "tv", "vv", "low", "high"),
                        (n, t, tt, v, tv, vv, low, high),
                        strict=True,
                    ):
                        sums[name][at, which] = value
                    edges[at, which] = first_value, last_value
        return _Minutes(
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[1] for row in rows], dtype=np.int64),
            sums,
            edges,
        )


def _since(minutes: _Minutes, first: int) -> _Minutes:
    at = int(np.searchsorted(minutes.minute, first))
    return _Minutes(
        minutes.minute[at:], minutes.readings[at:], minutes.sums[at:], minutes.edges[at:]
    )


def _summary(
    part: _Minutes, which: int, rolled: Sequence[Any] | None, *, sudden: int | None
) -> dict[str, Any] | None:
    """Returns one metric over a window; None when it has no value in it."""
    given = np.flatnonzero(part.sums["n"][:, which])
    count = int(part.sums["n"][:, which].sum())
    total = int(part.sums["v"][:, which].sum())
    lows = [int(part.sums["low"][at, which]) for at in given]
    highs = [int(part.sums["high"][at, which]) for at in given]
    if rolled is not None and rolled[0]:
        count, total = count + int(rolled[0]), total + int(rolled[1])
        lows.append(int(rolled[2]))
        highs.append(int(rolled[3]))
    if not count:
        return None
    change = None
    if len(given) and rolled is None:
        change = int(part.edges[given[-1], which, 1]) - int(part.edges[given[0], which, 0])
    return {
        "count": count,
        "mean": round(total / count / SCALE, 6),
        "min": min(lows) / SCALE,
        "max": max(highs) / SCALE,
        "change": None if change is None else change / SCALE,
        "sudden_changes": sudden,
    }
