"""A reading as the JSON document that people and programs get to see."""

import msgspec


class Location(msgspec.Struct, frozen=True):
    """Where the device stands; null where it was not told."""

    latitude: float | None = None
    longitude: float | None = None
    region: str | None = None


class ReadingDocument(msgspec.Struct, frozen=True):
    """One reading; °C, % relative humidity, hPa, null for what is missing.

    `timestamp` is RFC 3339 in UTC with milliseconds.
    """

    device_id: str
    timestamp: str
    temperature: float | None
    humidity: float | None
    pressure: float | None
    status: str
    location: Location


_encoder = msgspec.json.Encoder()


def encode(document: ReadingDocument) -> bytes:
    """Returns the document as JSON."""
    return _encoder.encode(document)
