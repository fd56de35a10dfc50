"""Where analytics keeps the last minutes of each device in Redis, and how they are read."""

from collections.abc import Sequence
from typing import Annotated, Final, cast

from pydantic import Field
from redis.asyncio import Redis

from sensor_shared.contracts.windows.layout import (
    MINUTE_MS,
    VERSION,
    Devices,
    Sums,
    devices_from,
    minutes_from,
)
from sensor_shared.runtime.settings import Section

Positive = Annotated[float, Field(gt=0)]
MinuteKey = tuple[str, int]
"""A device and one of its minutes, counted since the epoch."""


class WindowSettings(Section):
    """Section ANALYTICS: windows, thresholds and how often is published.

    The same for analytics, which writes, and for the gateway, which reads.
    """

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
    step_interval: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Seconds that a step waits for events; those that arrive meanwhile are joined."""
    step_events: Annotated[int, Field(gt=0)] = 25
    """Events with which a step begins at once: of a source that has no more than 50 in flight, half
    may wait while the other half is worked on."""
    max_events: Annotated[int, Field(gt=0)] = 100
    """Events of one step."""
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9:_-]*$")] = "analytics"
    """Begin of the keys in Redis."""


_KEYS_PER_COMMAND: Final = 500


class WindowKeys:
    """The keys of devices and of their minutes.

    Args:
        prefix: begin of all keys.
    """

    def __init__(self, prefix: str):
        self._prefix = f"{prefix}:{VERSION}:"

    def device(self, device: str) -> str:
        """Returns the key of a device's record."""
        return self._prefix + device

    def minute(self, device: str, minute: int) -> str:
        """Returns the key of one of its minutes."""
        # A colon may be part of an id, a slash never is.
        return f"{self._prefix}{device}/{minute}"


async def read_records(
    redis: Redis, keys: WindowKeys, devices: Sequence[str], minutes: Sequence[MinuteKey]
) -> tuple[list[bytes | None], list[bytes | None]]:
    """Returns the records of devices, then those of minutes.

    Who changes a device meanwhile changes its token too, which a write compares: what was read here
    in two halves is never written. Many are read in several commands, so that others are served
    in between.

    Raises:
        RedisError, OSError: when Redis does not answer.
    """
    names = [keys.device(device) for device in devices]
    names += [keys.minute(device, minute) for device, minute in minutes]
    records: list[bytes | None] = []
    for at in range(0, len(names), _KEYS_PER_COMMAND):
        # The client's type allows for text too; it is opened without decoding.
        found = await redis.mget(names[at : at + _KEYS_PER_COMMAND])
        records += cast("list[bytes | None]", found)
    return records[: len(devices)], records[len(devices) :]


async def read_window(
    redis: Redis, settings: WindowSettings, device: str
) -> tuple[Devices, Sums] | None:
    """Returns what is kept of a device, None when that is nothing.

    Returns:
        Its record, shape (1,), and the minutes up to that of its newest reading, shape
        (1, trend window).

    Raises:
        RedisError, OSError: when Redis does not answer.
    """
    keys = WindowKeys(settings.prefix)
    [record], _ = await read_records(redis, keys, [device], ())
    if record is None:
        return None
    state = devices_from([record])
    last = int(state["latest"][0]) // MINUTE_MS
    wanted = [(device, minute) for minute in range(last - settings.trend_window + 1, last + 1)]
    _, records = await read_records(redis, keys, (), wanted)
    sums, _ = minutes_from(records)
    return state, sums.reshape(1, -1)
