from sensor_auth.app import new as make  # noqa: D104
from sensor_shared.runtime.func import hosted
from sensor_shared.runtime.function import handle  # noqa: F401

new = hosted(make)
