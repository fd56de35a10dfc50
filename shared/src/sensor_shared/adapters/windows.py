"""Where analytics keeps the last minutes of each device in Redis, and how they are read."""

from collections.abc import Sequence
from typing import Annotated, Final, cast

import numpy as np
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
        """Returns the key of a device's record, in which its current minute is."""
        return self._prefix + device

    def minute(self, device: str, minute: int) -> str:
        """Returns the key of one of the minutes before that."""
        # A colon may be part of an id, a slash never is.
        return f"{self._prefix}{device}/{minute}"


async def read_records(redis: Redis, keys: Sequence[str]) -> list[bytes | None]:
    """Returns what is under these keys, None for nothing.

    Many are read in several commands, so that others are served in between. Who changes a device
    meanwhile changes its token too, which a write compares: what was read in two halves is never
    written.

    Raises:
        RedisError, OSError: when Redis does not answer.
    """
    records: list[bytes | None] = []
    for at in range(0, len(keys), _KEYS_PER_COMMAND):
        # The client's type allows for text too; it is opened without decoding.
        found = await redis.mget(keys[at : at + _KEYS_PER_COMMAND])
        records += cast("list[bytes | None]", found)
    return records


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
    [record] = await read_records(redis, [keys.device(device)])
    if record is None:
        return None
    state, current, _ = devices_from([record])
    last = int(state["latest"][0]) // MINUTE_MS
    before = range(last - settings.trend_window + 1, last)
    earlier, _ = minutes_from(
        await read_records(redis, [keys.minute(device, minute) for minute in before])
    )
    return state, np.concatenate([earlier, current]).reshape(1, -1)
