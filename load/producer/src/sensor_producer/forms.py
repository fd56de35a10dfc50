"""Readings as bytes: each form takes all readings of a tick and encodes stretches of them."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from sensor_producer.devices import Devices
from sensor_producer.fleet import Readings
from sensor_shared.contracts.readings import REGIONS, SCHEMA, STATUSES

Encode = Callable[[int, int], bytes]
"""Returns the bytes of the readings from a first to before a last position."""

_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class ArrowForm:
    """An Arrow IPC stream with the columns of `SCHEMA`."""

    readings_per_kilobyte = 10

    def __init__(self, devices: Devices):
        self._ids = pa.array(devices.ids, pa.string())
        self._latitude = devices.latitude
        self._longitude = devices.longitude
        self._region = pa.array([REGIONS[region] for region in devices.region], pa.string())
        self._statuses = pa.array(STATUSES, pa.string())
        self._schema = SCHEMA.serialize().to_pybytes()

    def table(self, readings: Readings) -> Encode:
        """Lays the readings out as one batch, of which each record gets a slice."""
        device = pa.array(readings.device)
        batch = pa.RecordBatch.from_arrays(
            [
                self._ids.take(device),
                pa.array(readings.timestamp_ms).cast(pa.timestamp("ms", "UTC")),
                pa.array(readings.temperature),
                pa.array(readings.humidity),
                pa.array(readings.pressure),
                self._statuses.take(pa.array(readings.status)),
                pa.array(self._latitude[readings.device]),
                pa.array(self._longitude[readings.device]),
                self._region.take(device),
            ],
            schema=SCHEMA,
        )

        def encode(first: int, last: int) -> bytes:
            # What a stream writer would write, without making one for each record.
            body = batch.slice(first, last - first).serialize().to_pybytes()
            return b"".join((self._schema, body, _END_OF_STREAM))

        return encode


class JsonForm:
    """A JSON array of objects, as the original's readings."""

    readings_per_kilobyte = 4

    def __init__(self, devices: Devices):
        self._ids = np.array(devices.ids, dtype=np.object_)
        self._places = np.array(
            [
                msgspec.Raw(
                    msgspec.json.encode(
                        {"latitude": latitude, "longitude": longitude, "region": REGIONS[region]}
                    )
                )
                for latitude, longitude, region in zip(
                    devices.latitude.tolist(),
                    devices.longitude.tolist(),
                    devices.region.tolist(),
                    strict=True,
                )
            ],
            dtype=np.object_,
        )
        self._encoder = msgspec.json.Encoder()

    def rows(self, readings: Readings) -> list[dict[str, Any]]:
        """Returns one object per reading."""
        times = np.datetime_as_string(readings.timestamp_ms.view("datetime64[ms]"), unit="ms")
        return [
            {
                "device_id": device_id,
                "timestamp": time + "Z",
                "temperature": temperature,
                "humidity": humidity,
                "pressure": pressure,
                "location": place,
                "status": STATUSES[status],
            }
            for device_id, time, temperature, humidity, pressure, place, status in zip(
                self._ids[readings.device].tolist(),
                times.tolist(),
                readings.temperature.tolist(),
                readings.humidity.tolist(),
                readings.pressure.tolist(),
                self._places[readings.device].tolist(),
                readings.status.tolist(),
                strict=True,
            )
        ]

    def table(self, readings: Readings) -> Encode:
        """Lays the readings out as objects, of which each record gets an array."""
        rows = self.rows(readings)
        return lambda first, last: self._encoder.encode(rows[first:last])


class SingleForm(JsonForm):
    """One JSON object: for records of one reading each."""

    def table(self, readings: Readings) -> Encode:
        """Lays the readings out as objects."""
        rows = self.rows(readings)
        return lambda first, _last: self._encoder.encode(rows[first])
