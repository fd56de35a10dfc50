"""Parameters and headers of the operations about the fleet and its latest values."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Header, Query

from sensor_gateway import cursors
from sensor_gateway.fleet import Filters
from sensor_gateway.parameters import DEVICE_ID_PATTERN
from sensor_shared.contracts.readings import DEVICE_TYPES

DeviceType = Literal[
    "temperature_sensor",
    "humidity_sensor",
    "pressure_sensor",
    "weather_station",
    "industrial_sensor",
    "unknown",
]
assert set(DEVICE_TYPES) <= set(DeviceType.__args__)  # type: ignore[attr-defined]  # noqa: S101
Types = Annotated[
    list[DeviceType] | None,
    Query(alias="type", description="one of these", max_length=6),
]
Regions = Annotated[
    list[Annotated[str, Query(min_length=1, max_length=64)]] | None,
    Query(alias="region", description="one of these", max_length=16, examples=[["west"]]),
]
Statuses = Annotated[
    list[Literal["active", "error", "maintenance", "silent"]] | None,
    Query(
        alias="status",
        description="one of these; silent: without a reading in the last minutes",
        max_length=4,
    ),
]
Search = Annotated[
    str | None,
    Query(
        pattern=DEVICE_ID_PATTERN,
        description="part of the id; upper and lower case are the same",
        examples=["station_0015"],
    ),
]
Cursor = Annotated[
    str | None,
    Query(
        pattern=cursors.PATTERN,
        description="`next` of another page of the same list, instead of `page`",
    ),
]
IfNoneMatch = Annotated[
    str | None, Header(description="ETag of an answer that the caller still has")
]

SOURCE_HEADER: dict[str, Any] = {
    "X-Data-Source": {
        "description": "Which stores answered. cache: made by an earlier query; stale: made "
        "longer ago than usual, because ClickHouse is away.",
        "schema": {
            "type": "string",
            "pattern": "^(redis|clickhouse|cache|stale)(, (redis|clickhouse))?$",
        },
    }
}
AGE_HEADER: dict[str, Any] = {
    "Age": {
        "description": "Seconds since it was asked of ClickHouse.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
ETAG_HEADERS: dict[str, Any] = {
    "ETag": {"description": "Names this answer.", "schema": {"type": "string"}},
    "Cache-Control": {
        "description": "The caller may keep it, and asks each time whether it still holds.",
        "schema": {"type": "string"},
    },
}
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The answer is the one that If-None-Match names.", "headers": ETAG_HEADERS}
}


def filters(
    types: list[DeviceType] | None,
    regions: list[str] | None,
    statuses: Sequence[str] | None,
    search: str | None,
) -> Filters:
    """Returns the filters that a request asks for."""
    return Filters(
        frozenset(types or ()), frozenset(regions or ()), frozenset(statuses or ()), search or ""
    )
