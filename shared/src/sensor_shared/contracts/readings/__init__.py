"""Readings: the columns, the limits, and the way from an event's bytes to valid columns."""

from sensor_shared.contracts.readings.decoding import Decoded, decode, decode_all
from sensor_shared.contracts.readings.model import (
    DECIMALS,
    DEVICE_TYPES,
    LIMITS,
    MAX_READINGS_PER_EVENT,
    METRICS,
    MISSING,
    REGIONS,
    SCHEMA,
    STATUSES,
    UNITS,
    Reject,
    device_type,
    empty_batch,
)

__all__ = [
    "DECIMALS",
    "DEVICE_TYPES",
    "LIMITS",
    "MAX_READINGS_PER_EVENT",
    "METRICS",
    "MISSING",
    "REGIONS",
    "SCHEMA",
    "STATUSES",
    "UNITS",
    "Decoded",
    "Reject",
    "decode",
    "decode_all",
    "device_type",
    "empty_batch",
]
