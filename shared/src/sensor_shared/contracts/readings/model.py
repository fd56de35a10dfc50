"""The reading: its columns, its limits and the names of the fleet."""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

METRICS: Final = ("temperature", "humidity", "pressure")
"""°C, % relative humidity, hPa."""

UNITS: Final = {"temperature": "°C", "humidity": "%", "pressure": "hPa"}

STATUSES: Final = ("active", "error", "maintenance")
DEVICE_TYPES: Final = (
    "temperature_sensor",
    "humidity_sensor",
    "pressure_sensor",
    "weather_station",
    "industrial_sensor",
)
REGIONS: Final = ("north", "south", "east", "west", "central")

MISSING: Final = -999.0
"""What a device sends for a failed measurement: never a value."""

LIMITS: Final[dict[str, tuple[float, float]]] = {
    "temperature": (-273.15, 5_000.0),
    "humidity": (0.0, 100.0),
    "pressure": (0.0, 100_000.0),
}
"""What a metric can be at all; outside it the reading is a reject, not an alert."""

DECIMALS: Final = 3
"""Digits after the point that are stored."""

RETENTION_MS: Final = 90 * 86_400_000
"""Readings older than this are rejected: the table's TTL would delete them at once."""
MAX_AHEAD_MS: Final = 5 * 60_000
"""How far a device's clock may be ahead."""
MAX_READINGS_PER_EVENT: Final = 50_000
MAX_REGION_LENGTH: Final = 64
MAX_DECODED_BYTES: Final = 64 * 1024 * 1024
"""What the bytes of one event may unfold to."""

SCHEMA: Final = pa.schema(
    [
        pa.field("device_id", pa.string(), nullable=False),
        pa.field("timestamp", pa.timestamp("ms", "UTC"), nullable=False),
        pa.field("temperature", pa.float64()),
        pa.field("humidity", pa.float64()),
        pa.field("pressure", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("region", pa.string()),
    ]
)
"""Columns of a batch of valid readings, in this order; null is a missing value."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A reading, or a whole event, that breaks a rule of the contract.

    Attributes:
        position: index of the reading in its event; 0 for a whole event.
        reason: stable short name, e.g. `invalid_timestamp`.
        detail: one sentence for people.
        device_id: the device as far as it could be read, else "".
        raw: the bytes as they came, of the reading where they can be told apart. Where not, the
            first reject has those of the event and the others have none.
    """

    position: int
    reason: str
    detail: str
    device_id: str
    raw: bytes


class UnreadableError(ValueError):
    """The data of an event is not of the form that it claims; the message says why."""


class TooManyReadingsError(UnreadableError):
    """There are more than `MAX_READINGS_PER_EVENT`."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_READINGS_PER_EVENT} readings in one event")


def device_type(device_id: str) -> str:
    """Returns the type in an id like `weather_station_001534`; "unknown" for another id."""
    prefix = device_id.rpartition("_")[0]
    return prefix if prefix in DEVICE_TYPES else "unknown"


def empty_batch() -> pa.RecordBatch:
    """Returns a batch of no readings."""
    return pa.RecordBatch.from_pylist([], SCHEMA)
