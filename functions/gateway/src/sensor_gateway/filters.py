"""Conditions on the devices that a question is about."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from pydantic import Field

from sensor_gateway.parameters import DEVICE_ID_PATTERN
from sensor_gateway.rollups.bindings import Bindings

_Name = Annotated[str, Field(min_length=1, max_length=64)]
Devices = Annotated[
    list[Annotated[str, Field(pattern=DEVICE_ID_PATTERN)]],
    Query(default_factory=list, alias="device_id", max_length=100, description="default: all"),
]
Regions = Annotated[
    list[_Name],
    Query(
        default_factory=list,
        alias="region",
        max_length=100,
        description="of the devices; default: all",
    ),
]
Types = Annotated[
    list[_Name],
    Query(
        default_factory=list,
        alias="type",
        max_length=100,
        description="of the devices; default: all",
    ),
]


def among_devices(bindings: Bindings, regions: Sequence[str], types: Sequence[str]) -> list[str]:
    """Returns conditions on `device_id` that hold for the devices of these regions and types."""
    places = [
        f"{column} IN {bindings.add(list(names), 'Array(String)')}"
        for column, names in (("region", regions), ("device_type", types))
        if names
    ]
    if not places:
        return []
    return [
        f"device_id IN (SELECT device_id FROM devices FINAL WHERE {' AND '.join(places)})"  # noqa: S608
    ]
