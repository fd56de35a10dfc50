"""What ClickHouse answers about the latest reading of a device."""

from typing import Any

from sensor_shared.adapters.database import Database, utc
from sensor_shared.adapters.single_flight import SingleFlight
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.readings.document import Location, ReadingDocument, encode

# The newest moment is found by the sort key alone; FINAL then looks at that one key, where
# deliveries that came twice may have left two rows.
_LATEST = """
SELECT timestamp, temperature, humidity, pressure, status
FROM readings FINAL
WHERE device_id = {device:String} AND timestamp = (
    SELECT timestamp FROM readings WHERE device_id = {device:String}
    ORDER BY device_id DESC, timestamp DESC LIMIT 1
)
"""
_PLACE = """
SELECT latitude, longitude, region FROM devices FINAL WHERE device_id = {device:String}
"""


class Readings:
    """The tables `readings` and `devices`, one device at a time."""

    def __init__(self, database: Database):
        self._database = database
        self._asking: SingleFlight[bytes | None] = SingleFlight()

    async def latest(self, device_id: str) -> bytes | None:
        """Returns the latest reading as the JSON document that Redis would hold; None: none yet.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        return await self._asking.ask(device_id, lambda: self._latest(device_id))

    async def _latest(self, device_id: str) -> bytes | None:
        rows = await self._database.rows(_LATEST, device=device_id)
        if not rows:
            return None
        places = await self._database.rows(_PLACE, device=device_id)
        return document(device_id, rows[0], places[0] if places else (None, None, ""))


def document(device_id: str, reading: tuple[Any, ...], place: tuple[Any, ...]) -> bytes:
    """Returns a reading as the JSON document that Redis' record would make.

    Args:
        device_id: whose.
        reading: timestamp, temperature, humidity, pressure, status.
        place: latitude, longitude, region (empty: not told).
    """
    timestamp, *values, status = reading
    latitude, longitude, region = place
    temperature, humidity, pressure = (None if v is None else float(v) for v in values)
    return encode(
        ReadingDocument(
            device_id=device_id,
            timestamp=rfc3339(utc(timestamp)),
            temperature=temperature,
            humidity=humidity,
            pressure=pressure,
            status=status,
            location=Location(latitude, longitude, region or None),
        )
    )
