"""Parameters that several operations take."""

from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BeforeValidator, WithJsonSchema

from sensor_gateway.domain import LAST_MS, moment
from sensor_shared.contracts.readings import METRICS

DEVICE_ID_PATTERN = r"^[A-Za-z0-9_\-.:]{1,128}$"
DeviceId = Annotated[
    str,
    Path(
        pattern=DEVICE_ID_PATTERN,
        description="The device's id.",
        examples=["weather_station_001534"],
    ),
]
Moment = Annotated[
    int,
    BeforeValidator(moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "integer", "minimum": 0, "maximum": LAST_MS},
            ]
        }
    ),
]
Start = Annotated[
    Moment | None, Query(alias="from", description="included; default: a day before `to`")
]
End = Annotated[Moment | None, Query(alias="to", description="excluded; default: now")]
Metrics = Annotated[
    list[Literal["temperature", "humidity", "pressure"]] | None,
    Query(alias="metric", description="those wanted; default: all", max_length=len(METRICS)),
]


def wanted(metrics: list[Literal["temperature", "humidity", "pressure"]] | None) -> list[str]:
    """Returns the metrics asked for, each once, in the order of `METRICS`."""
    return [name for name in METRICS if not metrics or name in metrics]
