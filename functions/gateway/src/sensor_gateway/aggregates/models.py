"""What aggregates answer."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from sensor_gateway.history.models import RollupResolution

Group = Literal["region", "type", "device"]
Function = Literal["count", "min", "max", "avg", "last"]


class Figures(BaseModel):
    """The functions asked for, of one metric; null: nothing was measured."""

    count: int | None = Field(default=None, ge=0, description="values that are not missing")
    min: float | None = None
    max: float | None = None
    avg: float | None = Field(default=None, description="of all values, each counted once")
    last: float | None = Field(default=None, description="the newest value of the group")


class AggregateRow(BaseModel):
    """One group, in one period when periods are asked for."""

    region: str | None = Field(default=None, description="empty: the devices did not tell")
    type: str | None = None
    device: str | None = None
    timestamp: datetime | None = Field(default=None, description="where the period begins")
    devices: int = Field(ge=1, description="that sent readings")
    readings: int = Field(ge=1)
    temperature: Figures | None = None
    humidity: Figures | None = None
    pressure: Figures | None = None


class AggregateTable(BaseModel):
    """Groups of devices over a span; what was not asked for is left out."""

    start: datetime = Field(alias="from", description="included")
    end: datetime = Field(alias="to", description="excluded")
    resolution: RollupResolution = Field(description="of the rollups that were joined")
    minutes_behind: int = Field(ge=0, description="as in a history")
    truncated: bool = Field(description="there are more rows than `limit`")
    items: list[AggregateRow]
