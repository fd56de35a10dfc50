"""Readings as JSON: one object or an array of objects."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from sensor_shared.contracts.readings import json_items
from sensor_shared.contracts.readings.model import (
    MAX_READINGS_PER_EVENT,
    METRICS,
    Reject,
    TooManyReadingsError,
    UnreadableError,
)
from sensor_shared.contracts.readings.validation import Columns, Parsed

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)] | int | float


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a device stands."""

    latitude: float | None = None
    longitude: float | None = None
    region: str | None = None


class JsonReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reading whose every field has its type; anything else takes the slow path."""

    device_id: str
    timestamp: Timestamp
    temperature: float | None = None
    humidity: float | None = None
    pressure: float | None = None
    location: Location | None = None
    status: str | None = None


_FIELDS = frozenset(JsonReading.__struct_fields__)
_LOCATION_FIELDS = frozenset(Location.__struct_fields__)
_NOWHERE = Location()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FARTHEST_MS = 2**53
_SPACE = b" \t\n\r"
_NAN = float("nan")

_array_of_readings = msgspec.json.Decoder(list[JsonReading])
_one_reading = msgspec.json.Decoder(JsonReading)
_array_of_raw = msgspec.json.Decoder(list[msgspec.Raw])


def parse(data: bytes) -> Parsed:
    """Reads JSON into columns.

    Well-typed data costs one pass in C. Only when that fails is each reading looked at by
    itself, so that one bad reading does not take its neighbours along.

    Raises:
        TooManyReadingsError: when there are more than `MAX_READINGS_PER_EVENT`.
        UnreadableError: when the bytes are no JSON.
    """
    rows = typed(data)
    if rows is None:
        return _parse_each(data)
    if len(rows) > MAX_READINGS_PER_EVENT:
        raise TooManyReadingsError
    return Parsed(
        columns=columns(rows),
        positions=range(len(rows)),
        raw=lambda positions: _at(_items(data), positions),
    )


def typed(data: bytes) -> Sequence[JsonReading] | None:
    """Returns the readings when every field has its type, None when anything is the matter."""
    try:
        return _array_of_readings.decode(data) if _is_array(data) else [_one_reading.decode(data)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_array(data: bytes) -> bool:
    return data.lstrip(_SPACE)[:1] == b"["


def _at(items: Sequence[bytes], positions: Sequence[int]) -> list[bytes]:
    return [items[position] for position in positions]


def _items(data: bytes) -> list[bytes]:
    """The readings of an event, each with the bytes it came in.

    Raises:
        UnreadableError: when the bytes are no JSON.
    """
    if not _is_array(data):
        return [data]
    try:
        raws = _array_of_raw.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # One bad item, or NaN and Infinity, which JSON does not know and Python's own writer emits.
        items = json_items.split(data)
        if items is None:
            raise UnreadableError(str(error)[:200]) from error
        return items
    if len(raws) > MAX_READINGS_PER_EVENT:
        raise TooManyReadingsError
    return list(map(bytes, raws))


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(str(error)[:200]) from error


def _parse_each(data: bytes) -> Parsed:
    rows: list[JsonReading] = []
    positions: list[int] = []
    rejects: list[Reject] = []
    faults: list[tuple[int, str]] = []
    unknown = 0
    items = _items(data)
    alone = not _is_array(data)
    for position, item in enumerate(items):
        try:
            value = _loads(item)
        except UnreadableError as error:
            if alone:
                raise
            rejects.append(Reject(position, "invalid_json", str(error), "", item))
            continue
        if not isinstance(value, dict):
            detail = "a reading must be a JSON object"
            rejects.append(Reject(position, "not_an_object", detail, "", item))
            continue
        unknown += len(value.keys() - _FIELDS)
        reading = _Lenient(value)
        faults += [(len(rows), fault) for fault in reading.faults]
        unknown += reading.unknown
        rows.append(reading.result)
        positions.append(position)
    found = columns(rows)
    for row, fault in faults:
        mask = found.faults.setdefault(fault, np.zeros(len(rows), dtype=np.bool_))
        mask[row] = True
    return Parsed(
        columns=found,
        positions=positions,
        raw=lambda positions: _at(items, positions),
        rejects=rejects,
        unknown_fields=unknown,
    )


class _Lenient:
    """One reading, field by field; what cannot be read becomes a fault and a missing value."""

    def __init__(self, value: dict[str, Any]):
        self._value = value
        self.faults: list[str] = []
        self.unknown = 0
        self.result = JsonReading(
            device_id=self._text("device_id", "invalid_device_id", value) or "",
            timestamp=self._timestamp(),
            temperature=self._number("temperature", "invalid_temperature", value),
            humidity=self._number("humidity", "invalid_humidity", value),
            pressure=self._number("pressure", "invalid_pressure", value),
            location=self._location(),
            status=self._text("status", "invalid_status", value),
        )

    def _text(self, field: str, fault: str, source: dict[str, Any]) -> str | None:
        text = source.get(field)
        if text is None or (isinstance(text, str) and _is_unicode(text)):
            return text
        self.faults.append(fault)
        return None

    def _number(self, field: str, fault: str, source: dict[str, Any]) -> float | None:
        number = source.get(field)
        if number is None:
            return None
        if isinstance(number, int | float) and not isinstance(number, bool):
            try:
                return float(number)
            except OverflowError:
                pass
        self.faults.append(fault)
        return None

    def _timestamp(self) -> Timestamp:
        try:
            timestamp: Timestamp = msgspec.convert(self._value.get("timestamp"), Timestamp)
        except (msgspec.ValidationError, OverflowError):
            return _NAN
        return timestamp

    def _location(self) -> Location:
        location = self._value.get("location")
        if location is None:
            return _NOWHERE
        if not isinstance(location, dict):
            self.faults.append("invalid_location")
            return _NOWHERE
        self.unknown += len(location.keys() - _LOCATION_FIELDS)
        return Location(
            latitude=self._number("latitude", "invalid_location", location),
            longitude=self._number("longitude", "invalid_location", location),
            region=self._text("region", "invalid_location", location),
        )


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which JSON escapes can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def columns(rows: Sequence[JsonReading]) -> Columns:
    """Turns rows into columns."""
    timestamps = [_epoch_ms(row.timestamp) for row in rows]
    places = [row.location or _NOWHERE for row in rows]
    unreadable = np.asarray([ms is None for ms in timestamps], dtype=np.bool_)
    made = Columns(
        device_id=pa.array([row.device_id for row in rows], pa.string()),
        timestamp=np.asarray([ms or 0 for ms in timestamps], dtype=np.int64),
        metrics={metric: _floats(getattr(row, metric) for row in rows) for metric in METRICS},
        status=pa.array([row.status or "active" for row in rows], pa.string()),
        latitude=_floats(place.latitude for place in places),
        longitude=_floats(place.longitude for place in places),
        region=pa.array([place.region for place in places], pa.string()),
    )
    if unreadable.any():
        made.faults["invalid_timestamp"] = unreadable
    return made


def _floats(values: Iterable[float | None]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.asarray([_NAN if value is None else value for value in values], dtype=np.float64)


def _epoch_ms(timestamp: Timestamp) -> int | None:
    if isinstance(timestamp, datetime):
        return (timestamp - _EPOCH) // _MILLISECOND
    if -_FARTHEST_MS < timestamp < _FARTHEST_MS:  # false for NaN too
        return int(timestamp)
    return None
