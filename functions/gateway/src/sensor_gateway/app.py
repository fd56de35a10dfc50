"""The gateway put together."""

import os
import time
from collections.abc import Callable

from sensor_gateway.aggregates.queries import Aggregates
from sensor_gateway.aggregates.routes import aggregate_routes
from sensor_gateway.alerts import routes as alerts
from sensor_gateway.alerts.calls import AlertCalls
from sensor_gateway.alerts.client import Alerts
from sensor_gateway.analytics import Analytics
from sensor_gateway.cache import Cache
from sensor_gateway.device_routes import fleet_routes
from sensor_gateway.devices import Devices
from sensor_gateway.export.chunks import Chunks
from sensor_gateway.export.leases import Leases
from sensor_gateway.export.routes import export_routes
from sensor_gateway.export.slots import Slots
from sensor_gateway.history.queries import Histories
from sensor_gateway.history.routes import history_routes
from sensor_gateway.insight_routes import insight_routes
from sensor_gateway.joined_reads import JoinedReads
from sensor_gateway.latest import Latest
from sensor_gateway.latest_routes import latest_routes
from sensor_gateway.live import opening as live
from sensor_gateway.live.alert_feed import BLOCK_SECONDS, AlertFeed
from sensor_gateway.live.alert_routes import alert_live_routes
from sensor_gateway.live.feed import ReadingFeed
from sensor_gateway.live.guard import TicketGuard
from sensor_gateway.live.records import LatestRecords
from sensor_gateway.live.routes import live_routes
from sensor_gateway.live.streams import Streams
from sensor_gateway.live.tickets import Tickets
from sensor_gateway.newest import NewestReadings
from sensor_gateway.parts import Parts
from sensor_gateway.quick_latest import QuickLatest
from sensor_gateway.readings import Readings
from sensor_gateway.rejects.queries import Rejects
from sensor_gateway.rejects.routes import reject_routes
from sensor_gateway.rollups.coverage import Coverage
from sensor_gateway.routes import TAGS, service_routes
from sensor_gateway.settings import GatewaySettings
from sensor_gateway.silences import routes as silences
from sensor_gateway.silences.client import Silences
from sensor_gateway.standings import Standings
from sensor_gateway.stats import Stats
from sensor_gateway.windows import Windows
from sensor_shared.adapters import redis
from sensor_shared.adapters.alert_tail import AlertTail
from sensor_shared.adapters.api_keys import KeyCheck
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.jwks import RemoteKeys
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.adapters.tokens import TokenVerifier
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.http.application import rest_service
from sensor_shared.runtime.http.cors import cross_origin
from sensor_shared.runtime.http.exchange import Exchange
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.limits import Limits
from sensor_shared.runtime.settings import ServerSettings, config_file


class Gateway:
    """The function `gateway`.

    Args:
        settings: all of it.
        now_ms: the time, epoch milliseconds; decides what may still be a latest reading.
    """

    name = "gateway"
    direct_prefix = "/api/"

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ):
        limits = settings.gateway
        self.server: ServerSettings = settings.server
        self.logger = settings.logger
        # More requests at a time than connections is not Redis away: they wait for one.
        self._redis = redis.connect(settings.redis, wait=settings.redis.timeout, pause=1.0)
        self._database = Database(
            # ClickHouse cancels a query before; one that answers nothing at all is away.
            settings.clickhouse.model_copy(
                update={"timeout": min(settings.clickhouse.timeout, limits.query_seconds + 1)}
            ),
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
        self._alerts = AlertCalls(settings.alerts)
        self._parts = Parts(
            self._redis,
            self._database,
            self._alerts.answers,
            lambda: self._keys.known,
            seconds=limits.probe_seconds,
        )
        readings = Readings(self._database)
        sessions = SessionCheck(self._redis, self._database)
        tokens = TokenVerifier(self._keys, issuer=limits.issuer, audience=limits.audience)
        rates = Limits(self._redis, settings.limits)
        keys = KeyCheck(self._redis, self._database)
        guard = Guard(tokens, sessions, keys=keys, limits=rates)
        dear, long = guard.costing(5), guard.costing(1, policy="export")
        self._feed = ReadingFeed(
            LatestRecords(self._redis, ttl_seconds=settings.latest.ttl_seconds, now_ms=now_ms),
            seconds=settings.live.poll_seconds,
        )
        # A look at changes of alerts keeps its connection until one comes.
        patient = settings.redis.timeout + BLOCK_SECONDS
        self._blocking = redis.connect(
            settings.redis.model_copy(update={"timeout": patient}), pause=1.0
        )
        self._alert_feed = AlertFeed(AlertTail(self._redis), AlertTail(self._blocking))
        self._streams = Streams(sessions, keys, settings.live)
        tickets = Tickets(self._redis)
        ticket_guard = TicketGuard(long, tickets, sessions, rates)
        stored = LatestReadings(self._redis, ttl_seconds=settings.latest.ttl_seconds, now_ms=now_ms)
        latest = Latest(stored, readings, NewestReadings(self._database))
        ttl_ms = int(settings.latest.ttl_seconds * 1000)
        standings = Standings(stored, self._database, ttl_ms=ttl_ms, now_ms=now_ms)
        self._devices = Devices(self._database, standings, every=limits.fleet_seconds)
        self.cache = Cache(self._redis, settings.cache, now_ms=now_ms)
        analytics = Analytics(
            self._redis,
            Windows(self._database, threshold=settings.analytics.delta_threshold),
            self.cache,
            settings.analytics,
            ttl_seconds=limits.analytics_seconds,
            now_ms=now_ms,
        )
        stats = Stats(
            self._database,
            self._devices,
            self.cache,
            ttl_seconds=limits.stats_seconds,
            now_ms=now_ms,
        )
        leases = Leases(self._redis, limits.exports_per_user)
        self._exports = Slots(limits.exports, limits.exports_per_user, leases)
        self.rest = rest_service(
            title="TWINUP gateway",
            description="Devices, their latest metrics and their history; exports and aggregates; "
            "alerts.",
            tags=[*TAGS, live.TAG, alerts.TAG, silences.TAG],
            routers=[
                fleet_routes(guard, self._devices, latest),
                latest_routes(dear, self._devices, latest),
                insight_routes(guard, self._devices, analytics, stats),
                history_routes(dear, Histories(self._database, coverage), max_days=limits.max_days),
                export_routes(
                    long,
                    Chunks(self._database),
                    self._exports,
                    chunk_rows=limits.export_chunk_rows,
                    seconds=limits.export_seconds,
                    chunk_seconds=limits.export_chunk_seconds,
                ),
                aggregate_routes(
                    dear, Aggregates(self._database, coverage), max_days=limits.max_days
                ),
                reject_routes(dear, Rejects(self._database)),
                live_routes(long, ticket_guard, tickets, self._streams, self._feed),
                # Before the other operations of alerts: to these `live` would be an id.
                alert_live_routes(long, ticket_guard, tickets, self._streams, self._alert_feed),
                alerts.alert_routes(dear, Alerts(self._alerts)),
                silences.silence_routes(dear, Silences(self._alerts)),
                service_routes(self._parts),
            ],
        )
        quick = QuickLatest(self.rest, tokens, JoinedReads(self._redis, stored), rates)
        self._app = Exchange("gateway", cross_origin(quick, settings.cors), settings.server)

    async def start(self) -> None:
        """Begins to fetch auth's keys and to ask the parts."""
        self._keys.start()
        self._alerts.start()
        self._parts.start()
        self._feed.start()
        self._alert_feed.start()
        self._streams.start()

    async def stop(self) -> None:
        """Ends what goes on, and closes the clients."""
        await self._streams.stop()
        await self._feed.stop()
        await self._exports.stop()
        await self._alert_feed.stop()
        await self._parts.stop()
        await self._devices.stop()
        await self._keys.stop()
        await self._blocking.aclose()
        await self._alerts.stop()
        await self._redis.aclose()
        await self._database.close()

    def alive(self) -> bool:
        """False when nobody looks after the parts or the streams any more."""
        watched = (self._parts, self._feed, self._alert_feed, self._streams)
        return all(part.watched for part in watched)

    def ready(self) -> bool:
        """True when tokens can be checked and Redis or ClickHouse answers."""
        return self._parts.serving

    def troubles(self) -> list[str]:
        """Says which parts do not answer."""
        return [f"{name} does not answer" for name in self._parts.away]

    def leave(self) -> None:
        """Ends the live streams: the server waits for its requests before it stops the rest."""
        self._streams.leave()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._app(scope, receive, send)


def new() -> Gateway:
    """Returns the function as the environment configures it.

    Raises:
        SettingsError: naming every mistake.
    """
    return Gateway(GatewaySettings.load(os.environ, config_file(os.environ, "gateway")))
