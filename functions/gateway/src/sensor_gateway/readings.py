"""What ClickHouse answers: the latest reading of a device, and its readings in a span."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any, Literal

from sensor_gateway.domain import Span
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.readings import METRICS
from sensor_shared.contracts.readings.document import Location, ReadingDocument, encode

Order = Literal["newest", "oldest"]

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
_HISTORY = """
SELECT timestamp, {columns}, status
FROM readings FINAL
WHERE device_id = {{device:String}}
  AND timestamp >= fromUnixTimestamp64Milli({{start:Int64}}, 'UTC')
  AND timestamp < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')
ORDER BY device_id {order}, timestamp {order}
LIMIT {{limit:UInt32}}
SETTINGS date_time_output_format = 'iso', output_format_json_quote_decimals = 0
FORMAT JSONEachRow
"""


class Readings:
    """The tables `readings` and `devices`, one device at a time."""

    def __init__(self, database: Database):
        self._database = database

    async def latest(self, device_id: str) -> bytes | None:
        """Returns the latest reading as the JSON document that Redis would hold; None: none yet.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        rows = await self._database.rows(_LATEST, device=device_id)
        if not rows:
            return None
        places = await self._database.rows(_PLACE, device=device_id)
        return document(device_id, rows[0], places[0] if places else (None, None, ""))

    async def knows(self, device_id: str) -> bool:
        """Tells whether the device has ever sent a reading.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        return bool(await self._database.rows(_PLACE, device=device_id))

    async def history(
        self, device_id: str, span: Span, *, metrics: Sequence[str], limit: int, order: Order
    ) -> list[bytes]:
        """Returns readings as JSON objects, as ClickHouse wrote them.

        Args:
            device_id: of the device.
            span: of the readings' own time.
            metrics: of `METRICS`, those wanted.
            limit: readings at most.
            order: which come first, and stay when there are more than `limit`.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        columns = ", ".join(name for name in METRICS if name in metrics)
        direction = "DESC" if order == "newest" else "ASC"
        text = await self._database.text(
            _HISTORY.format(columns=columns, order=direction),
            device=device_id,
            start=span.start_ms,
            end=span.end_ms,
            limit=limit,
        )
        return text.splitlines()


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
            timestamp=rfc3339(timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)),
            temperature=temperature,
            humidity=humidity,
            pressure=pressure,
            status=status,
            location=Location(latitude, longitude, region or None),
        )
    )
