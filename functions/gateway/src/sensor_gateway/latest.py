"""The latest readings of devices: Redis first, then ClickHouse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from redis.exceptions import RedisError

from sensor_gateway.newest import NewestReadings
from sensor_gateway.readings import Readings
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.telemetry import metrics

Source = Literal["redis", "clickhouse"]


@dataclass(frozen=True, slots=True)
class Many:
    """What is known of many devices.

    Attributes:
        documents: JSON, in the order of the devices that were asked for.
        missing: devices that have no reading.
        unanswered: devices of which only ClickHouse could tell, which is away.
        source: which stores answered.
    """

    documents: list[bytes]
    missing: list[str]
    unanswered: list[str]
    source: str


class Latest:
    """Answers with the stored document as it is."""

    def __init__(self, stored: LatestReadings, readings: Readings, newest: NewestReadings):
        self._stored = stored
        self._readings = readings
        self._newest = newest

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

    async def read_many(self, device_ids: Sequence[str]) -> Many:
        """Returns what is known of some devices; one asked for twice is answered once.

        Raises:
            DatabaseAwayError: when Redis and ClickHouse are away.
        """
        ids = list(dict.fromkeys(device_ids))
        try:
            found = dict(zip(ids, await self._stored.get(ids), strict=True))
            sources = ["redis"]
        except (RedisError, OSError):
            found, sources = dict.fromkeys(ids), []
        absent = [id_ for id_, document in found.items() if document is None]
        unanswered: list[str] = []
        try:
            if absent:
                found |= await self._newest.of(absent)
                sources.insert(0, "clickhouse")
        except DatabaseAwayError:
            if not sources:
                raise
            unanswered, absent = absent, []
        return Many(
            documents=[document for document in found.values() if document is not None],
            missing=[id_ for id_ in absent if found[id_] is None],
            unanswered=unanswered,
            source=", ".join(sources),
        )
