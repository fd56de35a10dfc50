"""The latest reading of a device: Redis first, then ClickHouse."""

from typing import Literal

from redis.exceptions import RedisError

from sensor_gateway.readings import Readings
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.telemetry import metrics

Source = Literal["redis", "clickhouse"]


class Latest:
    """Answers with the stored document as it is."""

    def __init__(self, stored: LatestReadings, readings: Readings):
        self._stored = stored
        self._readings = readings

    async def read(self, device_id: str) -> tuple[bytes, Source] | None:
        """Returns the JSON document and where it came from; None for an unknown device.

        Raises:
            DatabaseAwayError: when Redis has nothing and ClickHouse is away.
        """
        try:
            [document] = await self._stored.get([device_id])
        except (RedisError, OSError):
            document = None
        if document is not None:
            metrics.CACHE_READS.labels("redis").inc()
            return document, "redis"
        document = await self._readings.latest(device_id)
        metrics.CACHE_READS.labels("none" if document is None else "clickhouse").inc()
        return None if document is None else (document, "clickhouse")
