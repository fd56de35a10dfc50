"""What the alert service reads from its environment and `alerts-config.yaml`."""

from typing import Annotated

from pydantic import Field, SecretStr

from sensor_alerts.domain.limits import Limits
from sensor_alerts.live import StreamSettings
from sensor_alerts.notify.settings import (
    AlertMqttSettings,
    NotifySettings,
    SmtpSettings,
    WebhookSettings,
)
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.adapters.latest import LatestSettings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.adapters.rules_file import RulesSettings
from sensor_shared.runtime.settings import Section, ServerSettings, Settings
from sensor_shared.telemetry.logs import LoggerSettings

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class GrpcSettings(Section):
    """Section GRPC: where AlertService listens and what it asks of callers."""

    token: Annotated[SecretStr, Field(min_length=16)]
    """Service token; there is no default."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 50_051
    max_message_bytes: Count = 256 * 1024
    """Of a request: the largest silence has 135 kB. Answers may be as large as gRPC's own default,
    4 MiB."""
    max_concurrent: Count = 1_000
    """Calls under way; further ones are answered RESOURCE_EXHAUSTED."""
    timeout: Seconds = 10.0
    """Seconds that a call may take whose caller set no deadline, or a later one."""


class SweepSettings(Section):
    """Section SWEEP: what each tick of the PingSource does."""

    scan: Annotated[float, Field(ge=1)] = 30.0
    """Seconds between two looks at the newest readings of all devices, for rules with `rising`,
    `falling` and `missing`."""
    threads: Count = 1
    """Of ClickHouse for one query of a sweep."""
    timeout: Seconds = 20.0
    """Seconds that one such query may take."""


class PaceSettings(Section):
    """Section PACE: what belongs to one alert, and how often people are told.

    All of them hold back notifications, never records.
    """

    deduplication: Seconds = 300.0
    """Seconds: so long after it was cleared a breach opens the same alert again; and so long is
    nobody told a second time."""
    cooldown: Annotated[float, Field(ge=0)] = 60.0
    """Seconds between two notifications about the same device and rule."""
    per_device_and_hour: Count = 10
    per_minute: Count = 100
    """Over all devices."""
    update: Seconds = 10.0
    """Seconds between two changes of an alert that goes on without getting worse."""

    def limits(self) -> Limits:
        """Returns the part of it that is about notifications."""
        return Limits(
            deduplication_ms=int(self.deduplication * 1000),
            cooldown_ms=int(self.cooldown * 1000),
            per_device_and_hour=self.per_device_and_hour,
            per_minute=self.per_minute,
        )


class AlertServiceSettings(Settings):
    """Everything that the alert service can be told."""

    grpc: GrpcSettings
    server: ServerSettings = ServerSettings()
    logger: LoggerSettings = LoggerSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    redis: RedisSettings = RedisSettings(timeout=0.25)
    kafka: KafkaSettings = KafkaSettings()
    rules: RulesSettings = RulesSettings()
    sweep: SweepSettings = SweepSettings()
    latest: LatestSettings = LatestSettings()
    pace: PaceSettings = PaceSettings()
    stream: StreamSettings = StreamSettings()
    notify: NotifySettings = NotifySettings()
    smtp: SmtpSettings = SmtpSettings()
    webhook: WebhookSettings = WebhookSettings()
    mqtt: AlertMqttSettings = AlertMqttSettings()
