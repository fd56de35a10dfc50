"""Settings of the analytics function."""

from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.mqtt import MqttSettings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.adapters.windows import WindowSettings
from sensor_shared.runtime.settings import ServerSettings, Settings
from sensor_shared.telemetry.logs import LoggerSettings


class AnalyticsSettings(Settings):
    """Everything the function needs to know."""

    server: ServerSettings = ServerSettings(port=8085)
    logger: LoggerSettings = LoggerSettings()
    analytics: WindowSettings = WindowSettings()
    redis: RedisSettings = RedisSettings()
    mqtt: MqttSettings = MqttSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
