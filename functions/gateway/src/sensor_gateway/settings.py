"""What the gateway is told."""

from typing import Annotated

from pydantic import Field

from sensor_gateway.cache import CacheSettings
from sensor_shared.adapters.clickhouse import ClickHouseSettings
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
    """Between `from` and `to` of a history."""
    fleet_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Age at which the list of devices in memory is loaded anew by the next who asks for it."""
    analytics_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Age at which the windows of a device are asked for anew."""
    stats_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Age at which the statistics are counted anew."""
    probe_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Between two looks at Redis and ClickHouse, for health."""


class LiveSettings(Section):
    """Section LIVE: the live stream."""

    poll_seconds: Annotated[float, Field(gt=0)] = 0.5
    """Between two looks at Redis, by one poll for all streams of the process."""
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


class GatewaySettings(Settings):
    """All of it."""

    gateway: ReadSettings = ReadSettings()
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
