"""What the gateway is told."""

from typing import Annotated

from pydantic import Field

from sensor_gateway.cache import CacheSettings
from sensor_gateway.rollups.resolution import Resolution
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.grpc import AlertTargetSettings
from sensor_shared.adapters.jwks import JwksSettings
from sensor_shared.adapters.latest import LatestSettings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.adapters.windows import WindowSettings
from sensor_shared.runtime.http.settings import (
    CorsSettings,
    LimitSettings,
    RestServerSettings,
)
from sensor_shared.runtime.settings import Section, Settings
from sensor_shared.telemetry.logs import LoggerSettings

Positive = Annotated[int, Field(gt=0)]


class ListenSettings(RestServerSettings):
    """Section SERVER; nothing is sent to the gateway but questions."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8081
    max_body_bytes: Positive = 160 * 1024
    """A thousand ids of devices of the longest kind."""


class ReadSettings(Section):
    """Section GATEWAY."""

    issuer: str = "twinup-auth"
    audience: str = "twinup"
    query_seconds: Positive = 5
    """After that ClickHouse cancels a query."""
    query_rows: Positive = 50_000_000
    """Rows that one query may read."""
    max_span_days: Positive = 31
    """Between `from` and `to` of raw readings."""
    max_minute_days: Positive = 366
    """Between `from` and `to` of minutes, which are kept for a year."""
    max_hour_days: Positive = 5 * 366
    """Between `from` and `to` of hours, which are kept for five years."""
    max_day_days: Positive = 100 * 366
    """Between `from` and `to` of days."""
    coverage_seconds: Annotated[float, Field(ge=0)] = 1.0
    """For how long it is remembered how far the rollups are."""
    exports: Positive = 4
    """That run at the same time in one process."""
    exports_per_user: Positive = 2
    """That run at the same time for one user, in all processes; in each while Redis is away."""
    export_seconds: Positive = 3_600
    """After that an export is cut; what came is good, and another goes on from there."""
    export_chunk_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    """Readings of an export that are in memory at once."""
    export_chunk_seconds: Positive = 120
    """For a client to take a chunk, some 4 MB of CSV; then the export is cut, and its slot free."""
    fleet_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Age at which the list of devices in memory is loaded anew by the next who asks for it."""
    analytics_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Age at which the windows of a device are asked for anew."""
    stats_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Age at which the statistics are counted anew."""
    probe_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Between two looks at Redis, ClickHouse and the alert service, for health."""

    @property
    def max_days(self) -> dict[Resolution, int]:
        """How long the span of each resolution may be."""
        return {
            Resolution.RAW: self.max_span_days,
            Resolution.MINUTE: self.max_minute_days,
            Resolution.HOUR: self.max_hour_days,
            Resolution.DAY: self.max_day_days,
        }


class LiveSettings(Section):
    """Section LIVE: the live streams."""

    poll_seconds: Annotated[float, Field(gt=0)] = 0.5
    """Between two looks at the latest readings, by one poll for all streams of the process."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 15.0
    """Of silence, after which a comment is sent."""
    session_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Between two looks at whether the sessions of the open streams stand."""
    max_seconds: Positive = 3_600
    """That a stream may last; then the client opens it again."""
    streams: Positive = 100
    """Of one process; half of the requests that a replica on Knative may have at a time."""
    streams_per_user: Positive = 10
    """Of one user in one process."""


class AlertsSettings(AlertTargetSettings):
    """Section ALERTS: the alert service."""

    timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds that one call may take: somebody waits for it, while a query of ClickHouse runs."""


class GatewaySettings(Settings):
    """All of it."""

    gateway: ReadSettings = ReadSettings()
    alerts: AlertsSettings = AlertsSettings()
    live: LiveSettings = LiveSettings()
    cache: CacheSettings = CacheSettings()
    jwks: JwksSettings = JwksSettings()
    server: ListenSettings = ListenSettings()
    limits: LimitSettings = LimitSettings()
    cors: CorsSettings = CorsSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    redis: RedisSettings = RedisSettings()
    latest: LatestSettings = LatestSettings()
    analytics: WindowSettings = WindowSettings()
    logger: LoggerSettings = LoggerSettings()
