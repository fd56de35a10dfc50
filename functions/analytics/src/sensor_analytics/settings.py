"""Settings of the analytics function."""

from typing import Annotated

from pydantic import Field

from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.mqtt import MqttSettings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.runtime.settings import Section, ServerSettings, Settings
from sensor_shared.telemetry.logs import LoggerSettings

Positive = Annotated[float, Field(gt=0)]


class WindowSettings(Section):
    """Section ANALYTICS: windows, thresholds and how often is published."""

    window: Annotated[int, Field(gt=0)] = 300
    """Seconds that a region summary looks back."""
    trend_window: Annotated[int, Field(ge=2, le=120)] = 15
    """Minutes that a trend looks back."""
    trend_interval: Positive = 300.0
    """Seconds between two trend messages of a device whose directions stay the same."""
    trend_check: Positive = 30.0
    """Seconds between two judgements of a device's trends; a change is published at once."""
    trend_points: Annotated[int, Field(ge=3)] = 10
    """A metric with fewer values in the window is stable."""
    significance: Positive = 4.0
    """Standard errors by which a slope must differ from zero."""
    temperature_slope: Positive = 1.0
    """°C per hour from which the temperature rises or falls."""
    humidity_slope: Positive = 3.0
    """% per hour."""
    pressure_slope: Positive = 1.0
    """hPa per hour."""
    delta_threshold: Positive = 2.0
    """A change against the previous value by more than this is a delta; in the metric's unit."""
    delta_interval: Annotated[float, Field(ge=0)] = 10.0
    """Seconds between two delta messages of a device."""
    step_interval: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Seconds from one step to the next; the events that arrive meanwhile are joined."""
    max_events: Annotated[int, Field(gt=0)] = 100
    """Events of one step."""
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9:_-]*$")] = "analytics"
    """Begin of the keys in Redis."""


class AnalyticsSettings(Settings):
    """Everything the function needs to know."""

    server: ServerSettings = ServerSettings(port=8085)
    logger: LoggerSettings = LoggerSettings()
    analytics: WindowSettings = WindowSettings()
    redis: RedisSettings = RedisSettings()
    mqtt: MqttSettings = MqttSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
