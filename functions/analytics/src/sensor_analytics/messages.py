"""What is published: topics and JSON payloads.

Times are RFC 3339 in UTC with milliseconds. Values are in `unit`: °C, % (relative humidity)
or hPa. A metric without values is left out.
"""

from typing import Literal
from urllib.parse import quote

import msgspec

Direction = Literal["falling", "stable", "rising"]


class Window(msgspec.Struct, frozen=True):
    """The stretch of time that was looked at."""

    start: str
    end: str


class MetricTrend(msgspec.Struct, frozen=True):
    """The line through one metric's values.

    `slope_per_hour` and its `standard_error` are in the unit per hour; `direction` is rising
    or falling only where the slope is large enough and could hardly be chance. Both numbers
    are null where there are too few values for a line.
    """

    unit: str
    direction: Direction
    slope_per_hour: float | None
    standard_error: float | None
    points: int
    mean: float
    min: float
    max: float


class Trend(msgspec.Struct, frozen=True):
    """`analytics/device/{id}/trend`: where a device's metrics are going.

    `timestamp` is the newest reading's time, which ends the window.
    """

    device_id: str
    timestamp: str
    window: Window
    metrics: dict[str, MetricTrend]


class MetricDelta(msgspec.Struct, frozen=True):
    """One metric's sudden change: `change` is `value` at `timestamp` minus `previous`."""

    unit: str
    value: float
    previous: float
    change: float
    timestamp: str
    previous_timestamp: str


class Delta(msgspec.Struct, frozen=True):
    """`analytics/device/{id}/delta`: values that differ suddenly from the ones before them.

    They do so by more than `threshold`; per metric it is the largest change among the readings
    that were looked at together.
    """

    device_id: str
    timestamp: str
    threshold: float
    metrics: dict[str, MetricDelta]


class MetricSummary(msgspec.Struct, frozen=True):
    """One metric over all devices of a region."""

    unit: str
    count: int
    mean: float
    min: float
    max: float


class RegionSummary(msgspec.Struct, frozen=True):
    """`analytics/region/{region}/summary`: what a region's devices measured.

    `devices` have sent a reading in the window; of `active_devices` the last one had the
    status active. Readings are those that are stored, each once.
    """

    region: str
    timestamp: str
    window: Window
    devices: int
    active_devices: int
    metrics: dict[str, MetricSummary]


def topic(message: Trend | Delta | RegionSummary) -> str:
    """Returns a message's topic.

    Ids of devices hold no character that is special to MQTT; in regions it is %-encoded.
    """
    match message:
        case Trend():
            return f"analytics/device/{message.device_id}/trend"
        case Delta():
            return f"analytics/device/{message.device_id}/delta"
        case RegionSummary():
            return f"analytics/region/{quote(message.region, safe='')}/summary"


def kind(topic: str) -> str:
    """Returns the last level of a topic: trend, delta or summary."""
    return topic.rpartition("/")[2]


def encode(message: Trend | Delta | RegionSummary) -> bytes:
    """Returns the payload."""
    return msgspec.json.encode(message)
