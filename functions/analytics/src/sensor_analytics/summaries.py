"""Region summaries, asked of the database at each ping.

ClickHouse has every reading exactly once and knows each device's region, also where a reading
does not tell it; a query over five minutes every half minute is cheap. Counters in Redis would
have to learn both again.
"""

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_analytics.messages import (
    MetricSummary,
    RegionSummary,
    Window,
    encode,
    topic,
)
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.events import Event, rfc3339_ms
from sensor_shared.contracts.readings import METRICS, UNITS

_REMEMBERED_SECONDS = 600
_MAX_REGIONS = 1_000  # a region's name comes from outside

_PER_DEVICE = ", ".join(
    f"count({m}) AS {m}_count, sum({m}) AS {m}_sum, min({m}) AS {m}_min, max({m}) AS {m}_max"
    for m in METRICS
)
_PER_REGION = ", ".join(
    f"sum({m}_count), toFloat64(sum({m}_sum)), toFloat64(min({m}_min)), toFloat64(max({m}_max))"
    for m in METRICS
)
_QUERY = f"""
SELECT region, count() AS devices, countIf(last_status = 'active') AS active, {_PER_REGION}
FROM
(
    SELECT device_id, argMax(status, timestamp) AS last_status, {_PER_DEVICE}
    FROM readings FINAL
    WHERE timestamp >= fromUnixTimestamp64Milli({{start:Int64}}, 'UTC')
      AND timestamp < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')
    GROUP BY device_id
) AS measured
INNER JOIN (SELECT device_id, region FROM devices FINAL WHERE region != '') AS known
    USING (device_id)
GROUP BY region
ORDER BY region
LIMIT {_MAX_REGIONS}
"""  # noqa: S608  (built from constants; values are bound)


class Summaries:
    """Publishes a summary of each region for each ping.

    Args:
        database: where the readings are.
        redis: remembers which pings have been answered, for all replicas.
        publish: queues one message; never waits.
        window_ms: how far a summary looks back from the ping's time.
        prefix: begin of the keys in Redis.
    """

    def __init__(
        self,
        database: Database,
        redis: Redis,
        publish: Callable[[str, bytes], None],
        *,
        window_ms: int,
        prefix: str,
    ):
        self._database = database
        self._redis = redis
        self._publish = publish
        self._window_ms = window_ms
        self._prefix = prefix

    async def summarise(self, ping: Event, now_ms: int) -> None:
        """Publishes what the regions' devices measured up to the ping's time.

        The same ping again asks about the same stretch of time, and publishes nothing when
        its summaries are out already.

        Raises:
            Retry: ClickHouse or Redis is down.
        """
        end = now_ms if ping.time is None else round(ping.time.timestamp() * 1000)
        try:
            found = await self.query(end)
            key = f"{self._prefix}:ping:{ping.key}"
            if not await self._redis.set(key, 1, nx=True, ex=_REMEMBERED_SECONDS):
                return
        except (RedisError, OSError) as error:
            raise Retry(f"redis: {error}", after=1) from error
        for summary in found:
            self._publish(topic(summary), encode(summary))

    async def query(self, end_ms: int) -> list[RegionSummary]:
        """Returns the summaries of all regions with readings in the window that ends then.

        Raises:
            Retry: ClickHouse is down.
        """
        start_ms = end_ms - self._window_ms
        try:
            rows = await self._database.rows(_QUERY, start=start_ms, end=end_ms)
        except DatabaseAwayError as error:
            raise Retry(f"clickhouse: {error}", after=1) from error
        window = Window(rfc3339_ms(start_ms), rfc3339_ms(end_ms))
        return [_summary(row, window) for row in rows]


def _summary(row: Sequence[Any], window: Window) -> RegionSummary:
    region, devices, active, *numbers = row
    of_metrics = {metric: numbers[4 * at : 4 * at + 4] for at, metric in enumerate(METRICS)}
    return RegionSummary(
        region=region,
        timestamp=window.end,
        window=window,
        devices=devices,
        active_devices=active,
        metrics={
            metric: MetricSummary(UNITS[metric], count, round(total / count, 6), low, high)
            for metric, (count, total, low, high) in of_metrics.items()
            if count
        },
    )
