"""What a history answers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from sensor_gateway.models import Celsius, Hectopascal, Percent, Status

RollupResolution = Literal["minute", "hour", "day"]
_Value = Annotated[float | None, Field(examples=[21.437])]


class _OfDevice(BaseModel):
    device_id: str = Field(examples=["weather_station_001534"])
    start: datetime = Field(alias="from", description="included")
    end: datetime = Field(alias="to", description="excluded")
    order: Literal["newest", "oldest"]
    minutes_behind: int = Field(
        ge=0,
        description="minutes of the span whose late readings are stored and not in this answer "
        "yet; above 0 only while a long backlog is taken up",
    )


class _Page(_OfDevice):
    truncated: bool = Field(description="there are more in the span than `limit`")
    next: str | None = Field(description="`cursor` of the next page; null on the last one")


class ReadingItem(BaseModel):
    """One reading; metrics that were not asked for are left out."""

    timestamp: datetime
    temperature: Celsius = None
    humidity: Percent = None
    pressure: Hectopascal = None
    status: Status


class ReadingPage(_Page):
    """Readings of one device, each moment once however often it was delivered."""

    resolution: Literal["raw"]
    items: list[ReadingItem]


class Statistics(BaseModel):
    """What one metric was in a minute, an hour or a day; null: it was never measured."""

    count: int = Field(ge=0, description="values that are not missing")
    min: _Value
    max: _Value
    avg: _Value
    last: _Value


class RollupItem(BaseModel):
    """A minute, an hour or a day (UTC); metrics that were not asked for are left out."""

    timestamp: datetime = Field(description="where it begins")
    readings: int = Field(ge=1)
    temperature: Statistics | None = None
    humidity: Statistics | None = None
    pressure: Statistics | None = None


class RollupPage(_Page):
    """Minutes, hours or days of one device; those without readings are left out."""

    resolution: RollupResolution
    items: list[RollupItem]


class ReadingPoint(BaseModel):
    """A reading that a chart keeps."""

    timestamp: datetime
    value: float


class RollupPoint(Statistics):
    """A minute, an hour or a day that a chart keeps."""

    timestamp: datetime = Field(description="where it begins")


class _Chart(_OfDevice):
    max_points: int = Field(ge=3, description="of each metric at most")


class ReadingChart(_Chart):
    """For each metric the readings that keep the shape of its line."""

    resolution: Literal["raw"]
    series: dict[Literal["temperature", "humidity", "pressure"], list[ReadingPoint]]


class RollupChart(_Chart):
    """For each metric the minutes, hours or days that keep the shape of its averages' line."""

    resolution: RollupResolution
    series: dict[Literal["temperature", "humidity", "pressure"], list[RollupPoint]]


History = ReadingPage | RollupPage | ReadingChart | RollupChart
