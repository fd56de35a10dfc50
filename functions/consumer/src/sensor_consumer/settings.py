"""Settings of the consumer: `TWINUP_<SECTION>_<KEY>` over configs/consumer-config.yaml."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sensor_shared.adapters import latest
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.grpc import AlertTargetSettings
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.runtime.settings import Section, ServerSettings, Settings
from sensor_shared.telemetry.logs import LoggerSettings

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class StoreSettings(Section):
    """Section STORE: how events are joined into inserts."""

    linger_ms: Annotated[float, Field(ge=0, le=1_000)] = 0.0
    """How long the first event waits for company, milliseconds."""
    inserts_per_second: Annotated[float, Field(gt=0, le=1_000)] = 80.0
    """At most so many inserts into `readings` by this process, on average; after a pause as many at
    once as `concurrent_inserts` allows."""
    concurrent_inserts: Count = 3
    """Groups that are stored at the same time, so that a slow insert does not hold up the next."""
    rejects_interval: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Seconds between two inserts of rejects; their events are answered when they are stored."""
    max_rows: Count = 50_000
    """Of one insert; it may be more by the last event's."""
    max_waiting_rows: Count = 500_000
    """Beyond this the consumer is overloaded and says so."""
    attempts: Count = 3
    """Tries of an insert before its events are given back to be delivered again."""
    remember_seconds: Count = 900
    """How long a stored event is remembered, so that its repetition changes not even raw rows."""
    remember_events: Count = 100_000
    """How many of them this process remembers by itself, for when Redis is away."""


class LatestSettings(latest.LatestSettings):
    """Section LATEST: latest values in Redis."""

    timeout: Positive = 0.5
    """Seconds that Redis may take for one group of events."""
    pause: Positive = 1.0
    """Seconds for which Redis is left alone after a failure."""


class BreachSettings(Section):
    """Section BREACHES: how breaches of alert rules are reported."""

    rules: Path = Path("configs/alert-rules.yaml")
    concurrency: Count = 32
    """Calls under way at the same time."""
    pause: Positive = 1.0
    """Seconds for which gRPC is left alone after it did not answer."""


class FloodSettings(Section):
    """Section FLOOD: when so much is rejected that something must be wrong."""

    window_seconds: Annotated[int, Field(gt=0, le=3_600)] = 30
    """Over which the share of rejects is taken."""
    min_events: Count = 30
    """Fewer say nothing: where fewer came in the window, those before it count too."""
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Mean share of rejects in an event; above it is a flood, at half of it the flood is over.
    1 takes any share."""


class RollupSettings(Section):
    """Section ROLLUP: how much one run that brings the rollups up to date may take."""

    late_minutes: Annotated[int, Field(gt=0, le=1_000)] = 60
    """Minutes with late readings; the rest waits for the next run."""
    threads: Annotated[int, Field(gt=0, le=64)] = 1
    """Of ClickHouse for one statement."""
    timeout: Positive = 20.0
    """Seconds that one statement may take."""


class LagSettings(Section):
    """Section LAG: the gauge `sensor_consumer_lag`."""

    enabled: bool = True
    interval: Positive = 5.0
    """Seconds between two readings."""


class ConsumerSettings(Settings):
    """All that the consumer can be told."""

    server: ServerSettings = ServerSettings()
    logger: LoggerSettings = LoggerSettings()
    kafka: KafkaSettings = KafkaSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    redis: RedisSettings = RedisSettings()
    alerts: AlertTargetSettings = AlertTargetSettings()
    store: StoreSettings = StoreSettings()
    latest: LatestSettings = LatestSettings()
    breaches: BreachSettings = BreachSettings()
    flood: FloodSettings = FloodSettings()
    rollup: RollupSettings = RollupSettings()
    lag: LagSettings = LagSettings()
