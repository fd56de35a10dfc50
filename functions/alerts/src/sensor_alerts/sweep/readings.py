"""Stored readings, as a sweep asks for them."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sensor_alerts.domain.conditions import Reading, rate_per_minute
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.rules import AlertRule, Metric

_METRICS: Final[tuple[Metric, ...]] = ("temperature", "humidity", "pressure")
_MAX_DEVICES: Final = 200
"""Of one query: while its rows are taken apart, whoever reports a breach waits."""
_MAX_READINGS: Final = 2_000
"""Of one device, the newest ones."""
_AHEAD_MS: Final = 60_000
"""How far a device's clock may be ahead."""


class Series:
    """A device's readings in the order of their time."""

    def __init__(self) -> None:
        self._values: dict[Metric, list[Reading]] = {metric: [] for metric in _METRICS}

    def add(self, at_ms: int, values: Sequence[float | None]) -> None:
        """Adds a reading that is newer than those before it."""
        for metric, value in zip(_METRICS, values, strict=True):
            if value is not None:
                self._values[metric].append((at_ms, value))

    def of(self, metric: Metric) -> list[Reading]:
        """Returns those that have a value of the metric."""
        return self._values[metric]


class Found(NamedTuple):
    """A device that a rule over all devices has found.

    Attributes:
        value: units per minute for a rate; 0 where values are missing.
        at_ms: when its newest reading was measured.
    """

    device_id: str
    value: float
    at_ms: int


class StoredReadings:
    """Asks ClickHouse; methods raise `DatabaseAwayError` when it cannot answer now."""

    def __init__(self, database: Database):
        self._database = database

    async def since(self, moments: dict[str, int]) -> AsyncIterator[dict[str, Series]]:
        """Yields readings of some devices after the other, which may be none.

        Args:
            moments: by device, from when on its readings are wanted (epoch milliseconds).
        """
        for some in _by_moment(moments):
            found = {device_id: Series() for device_id, _ in some}
            rows = await self._database.rows(
                "SELECT device_id, toUnixTimestamp64Milli(timestamp), toFloat64(temperature), "
                "toFloat64(humidity), toFloat64(pressure) FROM readings FINAL "
                "WHERE device_id IN {devices:Array(String)} "
                "AND timestamp >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') "
                "ORDER BY device_id, timestamp DESC LIMIT {most:UInt32} BY device_id",
                devices=[device_id for device_id, _ in some],
                since=min(moment for _, moment in some),
                most=_MAX_READINGS,
            )
            for device_id, at_ms, *values in reversed(rows):
                if at_ms >= moments[device_id]:
                    found[device_id].add(at_ms, values)
            yield found

    async def changing(self, rule: AlertRule, now_ms: int) -> list[Found]:
        """Returns the devices whose metric rises, or falls, faster than a rule allows.

        The first and the last reading of the window are compared; a device whose readings span
        less than half of it is left out.
        """
        window_ms = int(rule.window * 1000)
        rows = await self._over_all(
            f"SELECT device_id, toFloat64(argMin({rule.metric}, timestamp)), "  # noqa: S608  (one of three names)
            f"toFloat64(argMax({rule.metric}, timestamp)), "
            "toUnixTimestamp64Milli(min(timestamp)) AS first, "
            "toUnixTimestamp64Milli(max(timestamp)) AS last "
            f"FROM readings WHERE {rule.metric} IS NOT NULL AND {_IN_SPAN} "
            "GROUP BY device_id HAVING last - first >= {least:Int64}",
            now_ms,
            window_ms,
        )
        found = []
        for device_id, earlier, later, first_ms, last_ms in rows:
            rate = rate_per_minute(first_ms, earlier, last_ms, later)
            speed = rate if rule.rising is not None else -rate
            if rule.excess(speed) > 0:
                found.append(Found(device_id, speed, last_ms))
        return found

    async def without(self, rule: AlertRule, now_ms: int) -> list[Found]:
        """Returns the devices that send readings, but for so long none with the metric."""
        rows = await self._over_all(
            "SELECT device_id, toUnixTimestamp64Milli(max(timestamp)) AS last, "  # noqa: S608
            "toUnixTimestamp64Milli(min(timestamp)) AS first "
            f"FROM readings WHERE {_IN_SPAN} GROUP BY device_id "
            f"HAVING countIf({rule.metric} IS NOT NULL) = 0 "
            "AND last - first >= {least:Int64}",
            now_ms,
            int(rule.threshold * 1000),
        )
        return [Found(device_id, 0.0, last_ms) for device_id, last_ms, _ in rows]

    async def regions(self) -> dict[str, str]:
        """Returns the region of every device, empty where it told none."""
        rows = await self._database.rows("SELECT device_id, toString(region) FROM devices FINAL")
        return dict(rows)

    async def last_seen(self, hours: int) -> dict[str, int]:
        """Returns when devices sent in the last hours, to the minute: not before they did."""
        rows = await self._database.rows(
            "SELECT device_id, toUnixTimestamp(max(time)) + 59 FROM readings_minute "
            "WHERE time > now() - INTERVAL {hours:UInt32} HOUR GROUP BY device_id",
            hours=hours,
        )
        return {device_id: int(seconds) * 1000 for device_id, seconds in rows}

    async def seconds(self, since_ms: int, until_ms: int) -> list[int]:
        """Returns the seconds in which anything was measured, epoch milliseconds, in order."""
        rows = await self._database.rows(
            "SELECT DISTINCT toUnixTimestamp(timestamp) AS second FROM readings "  # noqa: S608
            f"WHERE {_IN_SPAN} ORDER BY second",
            since=since_ms,
            until=until_ms,
        )
        return [int(second) * 1000 for (second,) in rows]

    async def _over_all(self, sql: str, now_ms: int, span_ms: int) -> list[tuple[Any, ...]]:
        return await self._database.rows(
            sql, since=now_ms - span_ms, until=now_ms + _AHEAD_MS, least=span_ms // 2
        )


_IN_SPAN: Final = (
    "timestamp >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') "
    "AND timestamp <= fromUnixTimestamp64Milli({until:Int64}, 'UTC')"
)


def _by_moment(moments: dict[str, int]) -> Iterator[list[tuple[str, int]]]:
    """Devices that are asked about from about the same moment on share a query."""
    ordered = sorted(moments.items(), key=lambda entry: entry[1], reverse=True)
    some: list[tuple[str, int]] = []
    for entry in ordered:
        apart = some and some[0][1] - entry[1] > 600_000
        if apart or len(some) == _MAX_DEVICES:
            yield some
            some = []
        some.append(entry)
    if some:
        yield some
