"""The gateway put together."""

import os
import time
from collections.abc import Callable

from sensor_gateway.aggregates.queries import Aggregates
from sensor_gateway.aggregates.routes import aggregate_routes
from sensor_gateway.devices import Devices
from sensor_gateway.export.chunks import Chunks
from sensor_gateway.export.routes import export_routes
from sensor_gateway.export.slots import Slots
from sensor_gateway.history.queries import Histories
from sensor_gateway.history.routes import history_routes
from sensor_gateway.latest import Latest
from sensor_gateway.parts import Parts
from sensor_gateway.readings import Readings
from sensor_gateway.rejects.queries import Rejects
from sensor_gateway.rejects.routes import reject_routes
from sensor_gateway.rollups.coverage import Coverage
from sensor_gateway.routes import TAGS, device_routes, service_routes
from sensor_gateway.settings import GatewaySettings
from sensor_shared.adapters import redis
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.jwks import RemoteKeys
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.adapters.tokens import TokenVerifier
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.http.application import rest_service
from sensor_shared.runtime.http.exchange import Exchange
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.settings import ServerSettings, config_file


class Gateway:
    """The function `gateway`.

    Args:
        settings: all of it.
        now_ms: the time, epoch milliseconds; decides what may still be a latest reading.
    """

    name = "gateway"

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ):
        limits = settings.gateway
        self.server: ServerSettings = settings.server
        self.logger = settings.logger
        self._redis = redis.connect(settings.redis)
        self._database = Database(
            settings.clickhouse,
            max_execution_time=limits.query_seconds,
            max_rows_to_read=limits.query_rows,
            do_not_merge_across_partitions_select_final=1,
            # A client that goes away takes its query with it, which a server does for queries
            # that can change nothing; and the gateway changes nothing.
            readonly=2,
            cancel_http_readonly_queries_on_client_close=1,
        )
        coverage = Coverage(self._database, seconds=limits.coverage_seconds)
        self._keys = RemoteKeys(settings.jwks)
        self._parts = Parts(
            self._redis,
            self._database,
            lambda: self._keys.known,
            seconds=limits.probe_seconds,
        )
        readings = Readings(self._database)
        latest = LatestReadings(self._redis, ttl_seconds=settings.latest.ttl_seconds, now_ms=now_ms)
        guard = Guard(
            TokenVerifier(self._keys, issuer=limits.issuer, audience=limits.audience),
            SessionCheck(self._redis, self._database),
        )
        self.rest = rest_service(
            title="TWINUP gateway",
            description="Devices, their latest metrics and their history; exports and aggregates.",
            tags=TAGS,
            routers=[
                device_routes(
                    guard,
                    Devices(self._database, latest),
                    Latest(latest, readings),
                ),
                history_routes(
                    guard, Histories(self._database, coverage), max_days=limits.max_days
                ),
                export_routes(
                    guard,
                    Chunks(self._database),
                    Slots(limits.exports, limits.exports_per_user),
                    chunk_rows=limits.export_chunk_rows,
                    seconds=limits.export_seconds,
                ),
                aggregate_routes(
                    guard, Aggregates(self._database, coverage), max_days=limits.max_days
                ),
                reject_routes(guard, Rejects(self._database)),
                service_routes(self._parts),
            ],
        )
        self._app = Exchange("gateway", self.rest, max_body_bytes=settings.server.max_body_bytes)

    async def start(self) -> None:
        """Begins to fetch auth's keys and to ask the parts."""
        self._keys.start()
        self._parts.start()

    async def stop(self) -> None:
        """Closes the clients."""
        await self._parts.stop()
        await self._keys.stop()
        await self._redis.aclose()
        await self._database.close()

    def alive(self) -> bool:
        """False when nobody looks after the parts any more."""
        return self._parts.watched

    def ready(self) -> bool:
        """True when tokens can be checked and Redis or ClickHouse answers."""
        return self._parts.serving

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._app(scope, receive, send)


def new() -> Gateway:
    """Returns the function as the environment configures it.

    Raises:
        SettingsError: naming every mistake.
    """
    return Gateway(GatewaySettings.load(os.environ, config_file(os.environ, "gateway")))
