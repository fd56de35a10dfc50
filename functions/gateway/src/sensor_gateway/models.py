"""What the REST operations answer."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from sensor_gateway.devices import Device

Status = Literal["active", "error", "maintenance"]
State = Literal["up", "down"]
Celsius = Annotated[float | None, Field(description="°C; null: not measured", examples=[21.437])]
Percent = Annotated[float | None, Field(description="% relative humidity", examples=[48.2])]
Hectopascal = Annotated[float | None, Field(description="hPa", examples=[1013.25])]


class DevicePage(BaseModel):
    """A page of the fleet, ordered by device id."""

    items: list[Device]
    page: int | None = Field(ge=1, description="null: the page of a cursor")
    page_size: int = Field(ge=1, le=1000)
    total: int = Field(ge=0, description="devices on all pages")
    next: str | None = Field(description="`cursor` of the next page; null: this is the last")


class Location(BaseModel):
    """Where a device is; null: not told."""

    latitude: float | None
    longitude: float | None
    region: str | None


class LatestMetrics(BaseModel):
    """The reading of a device with the newest time of its own."""

    device_id: str = Field(examples=["weather_station_001534"])
    timestamp: datetime = Field(description="the reading's own time, UTC")
    temperature: Celsius
    humidity: Percent
    pressure: Hectopascal
    status: Status
    location: Location


class LatestOfMany(BaseModel):
    """The newest readings of many devices."""

    items: list[LatestMetrics] = Field(description="in the order of the devices")
    missing: list[str] = Field(description="devices that have no reading")
    unanswered: list[str] = Field(
        description="devices whose newest reading is in ClickHouse alone, which is away: ask later"
    )
    next: str | None = Field(description="`cursor` of the next page; null: this is the last")


class Parts(BaseModel):
    """The state of each part behind the gateway."""

    redis: State
    clickhouse: State
    auth_keys: State = Field(description="up: tokens can be checked")
    alerts: State = Field(description="up: the alert service answers")


class Health(BaseModel):
    """ok: all is there; degraded: answers come from what is left; unavailable: nothing is."""

    status: Literal["ok", "degraded", "unavailable"]
    parts: Parts
