"""What can be asked of a running dispatcher: health, metrics, and whether all is drained."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import web
from confluent_kafka import KafkaException

from sensor_dispatcher.lag import LagReader, Partition
from sensor_dispatcher.ping import Ping
from sensor_dispatcher.source import Source
from sensor_shared.telemetry import metrics

_REFRESH_SECONDS = 5.0


class Board:
    """HTTP application over the sources and pings of this process."""

    def __init__(self, sources: Sequence[Source], pings: Sequence[Ping], lags: LagReader):
        self._sources = sources
        self._pings = pings
        self._lags = lags
        self._log = structlog.get_logger()

    def application(self) -> web.Application:
        """Returns the routes; the lag's metric is refreshed while it runs."""
        app = web.Application()
        app.router.add_get("/health/liveness", self._liveness)
        app.router.add_get("/health/readiness", self._readiness)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._status)
        return app

    def alive(self) -> bool:
        """Tells whether every source still polls."""
        return all(source.alive() for source in self._sources)

    def ready(self) -> bool:
        """Tells whether every source has joined its group."""
        return self.alive() and all(source.joined() for source in self._sources)

    async def keep_lag(self) -> None:
        """Refreshes `sensor_consumer_lag` until it is cancelled."""
        while True:
            for source in self._sources:
                await self._lag(source)
            await asyncio.sleep(_REFRESH_SECONDS)

    async def status(self) -> dict[str, Any]:
        """Returns the state of each source; `lag` is read now, null when Kafka does not answer."""
        lags = await asyncio.gather(*map(self._lag, self._sources))
        return {
            "sources": {
                source.name: {
                    "group": source.spec.consumer_group,
                    "topics": source.spec.topics,
                    "lag": None if lag is None else sum(lag.values()),
                    "committed": _by_name(source.committed()),
                    **_counts(source),
                    "dead_lettered": source.tally.dead_lettered,
                }
                for source, lag in zip(self._sources, lags, strict=True)
            },
            "pings": {
                ping.name: {**_counts(ping), "dropped": ping.tally.dropped} for ping in self._pings
            },
        }

    async def _lag(self, source: Source) -> dict[Partition, int] | None:
        spec = source.spec
        try:
            lag = await asyncio.to_thread(
                self._lags.read,
                spec.consumer_group,
                spec.topics,
                spec.initial_offset,
                source.positions,
            )
        except KafkaException as error:
            self._log.warning("lag not known", source=source.name, error=str(error))
            return None
        for (topic, partition), records in lag.items():
            metrics.CONSUMER_LAG.labels(spec.consumer_group, topic, str(partition)).set(records)
        return lag

    async def _liveness(self, _request: web.Request) -> web.Response:
        return _health(self.alive())

    async def _readiness(self, _request: web.Request) -> web.Response:
        return _health(self.ready())

    async def _metrics(self, _request: web.Request) -> web.Response:
        body, content_type = metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(await self.status())


def _counts(part: Source | Ping) -> dict[str, int]:
    tally = part.tally
    return {
        "in_flight": tally.in_flight,
        "delivered": tally.delivered,
        "retried": tally.retried,
    }


def _by_name(offsets: dict[Partition, int]) -> dict[str, int]:
    return {f"{topic}/{partition}": offset for (topic, partition), offset in offsets.items()}


def _health(healthy: bool) -> web.Response:
    return web.Response(status=200 if healthy else 503, text="OK" if healthy else "Unavailable")
