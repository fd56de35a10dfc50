from sensor_consumer.app import new  # noqa: D104, F401
from sensor_shared.runtime.function import handle  # noqa: F401
