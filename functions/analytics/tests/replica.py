"""An analysis as one replica has it, on a Redis that others work on too."""

import json
from typing import Any

from redis.asyncio import Redis

from sensor_analytics.analysis import Analysis
from sensor_analytics.state import DeviceStore
from sensor_shared.adapters.windows import WindowSettings

from .conftest import Row, batch_of

BEGIN = 1_795_462_320_000
"""A full minute, epoch milliseconds."""


class Replica:
    """One replica's analysis with a clock that the test moves."""

    def __init__(self, redis: Redis, prefix: str, **settings: Any):
        self.now_ms = BEGIN
        self.published: list[tuple[str, dict[str, Any]]] = []
        own = WindowSettings(**{"delta_interval": 0} | settings)
        self.analysis = Analysis(
            DeviceStore(redis, prefix, own.trend_window),
            lambda topic, payload: self.published.append((topic, json.loads(payload))),
            own,
            now_ms=lambda: self.now_ms,
        )

    async def take(self, *events: list[Row]) -> None:
        await self.analysis.take([batch_of(rows) for rows in events])

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for topic, message in self.published if topic.endswith(f"/{kind}")]
