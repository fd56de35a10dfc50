"""From the readings of a tick to Kafka records: portions below the bound, each to a partition."""

import itertools
import secrets
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from sensor_producer.devices import Devices
from sensor_producer.fleet import Readings
from sensor_producer.forms import ArrowForm, Encode, JsonForm, SingleForm
from sensor_producer.settings import Form
from sensor_shared.contracts.events import (
    ARROW_STREAM,
    JSON,
    READINGS_V1,
    Event,
    new_id,
    to_kafka,
)
from sensor_shared.contracts.readings import DEVICE_TYPES

MAX_VALUE_BYTES = 60_000
"""A record stays below 64 kB, its headers included."""

Headers = list[tuple[str, str | bytes | None]]  # what the client accepts


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record and the readings in it.

    Attributes:
        partition, key, value, headers: as Kafka gets them.
        readings: in `value`.
        run: the earlier run that made it and left it in the spool; "" for this one.
    """

    partition: int
    key: bytes
    value: bytes
    headers: Headers
    readings: Readings
    run: str = ""


def partitions_of(ids: tuple[str, ...], partitions: int) -> npt.NDArray[np.int32]:
    """Returns the partition of each device: CRC-32 of its id, modulo the number of partitions.

    It is what librdkafka computes for a record whose key is the device's id.
    """
    return np.fromiter((zlib.crc32(id_.encode()) % partitions for id_ in ids), np.int32, len(ids))


def _of_device(devices: Devices, partitions: int) -> Callable[[int], int]:
    places: list[int] = partitions_of(devices.ids, partitions).tolist()
    return places.__getitem__


def _by_turns(partitions: int) -> Callable[[int], int]:
    turns = itertools.cycle(range(partitions))
    return lambda _device: next(turns)


class RecordMaker:
    """Makes records of one form for a topic with a known number of partitions.

    A single reading goes to its device's partition. Records of many go to one partition after the
    other, as Kafka's own sticky partitioner does it (KIP-480): a record for each partition
    and tick would be as many times smaller, and each costs everybody behind the same.
    """

    def __init__(
        self,
        devices: Devices,
        *,
        form: Form,
        partitions: int,
        source: str,
        batch_size: int,
        clock: Callable[[], datetime],
    ):
        self._devices = devices
        self._plain = form is Form.PLAIN
        self._single = form in (Form.SINGLE, Form.PLAIN)
        self._content_type = ARROW_STREAM if form is Form.ARROW else JSON
        self._source = source
        self._clock = clock
        self._partition = _of_device(devices, partitions) if self._single else _by_turns(partitions)
        maker = ArrowForm if form is Form.ARROW else SingleForm if self._single else JsonForm
        self._form = maker(devices)
        fits = MAX_VALUE_BYTES * self._form.readings_per_kilobyte // 1000
        self._most = 1 if self._single else min(batch_size, fits)

    def make(self, readings: Readings) -> Iterator[Record]:
        """Yields records that hold each reading once."""
        encode = self._form.table(readings)
        for start in range(0, len(readings), self._most):
            yield from self._portion(
                readings, encode, start, min(start + self._most, len(readings))
            )

    def _portion(
        self, readings: Readings, encode: Encode, first: int, last: int
    ) -> Iterator[Record]:
        value = encode(first, last)
        if len(value) > MAX_VALUE_BYTES and last - first > 1:
            middle = (first + last) // 2
            yield from self._portion(readings, encode, first, middle)
            yield from self._portion(readings, encode, middle, last)
            return
        device = int(readings.device[first])
        partition = self._partition(device)
        key, headers = self._envelope(partition, device)
        yield Record(partition, key, value, headers, readings[first:last])

    def _envelope(self, partition: int, device: int) -> tuple[bytes, Headers]:
        device_id = self._devices.ids[device]
        if self._plain:
            kind = DEVICE_TYPES[self._devices.kind[device]]
            return device_id.encode(), [("device_type", kind.encode()), ("version", b"1.0")]
        key = device_id if self._single else f"partition-{partition}"
        event = Event(
            id=new_id(),
            source=self._source,
            type=READINGS_V1,
            data=b"",
            content_type=self._content_type,
            time=self._clock(),
            extensions={
                "partitionkey": key,
                "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
            },
        )
        return key.encode(), [*to_kafka(event)[2]]
