"""Bytes of a reading on its way and in Redis; those in ClickHouse are in the results.

Records are made by the producer's own code, so their size is what it is. The constants of Redis
are its memory, with `KEY_BYTES` for each key; `load/capacity/tests` compares them with a real one.
"""

from datetime import UTC, datetime
from functools import cache

import pyarrow as pa

from sensor_producer.devices import make_devices
from sensor_producer.dice import Dice
from sensor_producer.faults import FaultSettings
from sensor_producer.fleet import Fleet
from sensor_producer.records import RecordMaker
from sensor_producer.settings import Form

TREND_MINUTES = 15 + 2
"""Minutes of a device that analytics keeps beside its current one: the window, and two to spare."""
KEY_BYTES = 58
"""Of each key in Redis's own tables: `used_memory` grew by so much more than `MEMORY USAGE` said,
at 38,000 keys that expire."""
LATEST_BYTES = 350
"""Memory in Redis of a device's latest reading, twice around the end of a period, and of its place
among those last seen."""
STATE_BYTES = 385
"""Memory in Redis of a device's record of analytics with its current minute, without moments."""
MINUTE_BYTES = 340
"""Memory in Redis of one minute of a device, without its moments."""
MOMENT_BYTES = 2
"""Of each reading in such a minute."""
EVENT_BYTES = 80
"""Memory in Redis of an event that the consumer remembers."""
REMEMBERED_SECONDS = 2 * 900
"""How long at most."""

MINUTE_ROLLUP_BYTES = 28_800
"""Per device and day in `readings_minute`, kept for a year (decision 7)."""
HOUR_ROLLUP_BYTES = 518
"""The same in `readings_hour`, kept for five years."""

_EPOCH_US = 1_767_225_600_000_000
_HEADERS_BYTES = 300
"""CloudEvents attributes and key; over HTTP a little more."""


@cache
def reading_bytes(readings_per_record: int) -> tuple[float, float]:
    """Returns the bytes of one reading in Kafka, compressed, and in a request of many."""
    devices = make_devices(readings_per_record, 42)
    fleet = Fleet(devices, Dice(42, readings_per_record), 1.0, FaultSettings())
    first = fleet.moments(_EPOCH_US)
    maker = RecordMaker(
        devices,
        form=Form.ARROW,
        partitions=1,
        source="urn:twinup:capacity",
        batch_size=readings_per_record,
        clock=lambda: datetime.fromtimestamp(_EPOCH_US / 1_000_000, UTC),
    )
    records = list(maker.make(fleet.measure(first, first + readings_per_record)))
    plain = sum(len(record.value) + _HEADERS_BYTES for record in records)
    packed = sum(
        len(pa.compress(record.value, codec="snappy", asbytes=True)) + _HEADERS_BYTES
        for record in records
    )
    readings = sum(len(record.readings) for record in records)
    return packed / readings, plain / readings


def redis_bytes(devices: float, interval: float, events: float) -> float:
    """Returns the memory of all that the system keeps in Redis while it runs."""
    minutes = TREND_MINUTES * min(1.0, 60 / interval)
    current = STATE_BYTES + _moments_bytes(interval) / 2  # half full on average
    device = LATEST_BYTES + current + minutes * (MINUTE_BYTES + _moments_bytes(interval))
    return devices * device + events * REMEMBERED_SECONDS * EVENT_BYTES


def redis_traffic_bytes(interval: float) -> float:
    """Returns the bytes to and from Redis for one reading: it is shown, and folded in."""
    return LATEST_BYTES + 2 * (STATE_BYTES + _moments_bytes(interval) / 2)


def _moments_bytes(interval: float) -> float:
    return MOMENT_BYTES * 60 / interval if interval < 60 else 0.0
