"""A reading as the JSON document that people and programs get to see."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa


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


_PLACE = ("latitude", "longitude", "region")
_encoder = msgspec.json.Encoder()


def encode(document: ReadingDocument) -> bytes:
    """Returns the document as JSON."""
    return _encoder.encode(document)


def documents(batch: pa.RecordBatch) -> list[bytes]:
    """Returns the JSON document of each reading of a batch (`SCHEMA`), in its order."""
    milliseconds = batch.column("timestamp").cast(pa.int64()).to_numpy().view("datetime64[ms]")
    stamps = np.datetime_as_string(milliseconds, timezone="UTC")
    columns: tuple[list[Any], ...] = (
        batch.column("device_id").to_pylist(),
        stamps.tolist(),
        *(batch.column(name).to_pylist() for name in ("temperature", "humidity", "pressure")),
        batch.column("status").to_pylist(),
        list(map(Location, *(batch.column(name).to_pylist() for name in _PLACE))),
    )
    return [_encoder.encode(document) for document in map(ReadingDocument, *columns)]
