"""What the operations about analytics and statistics answer."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MetricTrend(BaseModel):
    """The line through one metric's values; slopes are in the unit per hour."""

    unit: str = Field(examples=["°C"])
    direction: Literal["falling", "stable", "rising"] = Field(
        description="as the function analytics judged it: large enough, and hardly chance"
    )
    slope_per_hour: float | None = Field(description="null: too few values", examples=[1.732])
    standard_error: float | None = Field(description="of the slope", examples=[0.041])
    confidence: float | None = Field(
        ge=0, le=1, description="how sure it is that the slope is not zero; null: too few values"
    )
    points: int = Field(ge=1, description="values in the window")
    mean: float
    min: float
    max: float


class DeviceTrend(BaseModel):
    """The minutes up to the device's newest reading."""

    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to", description="the newest reading's time")
    metrics: dict[Literal["temperature", "humidity", "pressure"], MetricTrend | None] = Field(
        description="null: no value in the window"
    )


class MetricWindow(BaseModel):
    """One metric over a window."""

    count: int = Field(ge=1)
    mean: float
    min: float
    max: float
    change: float | None = Field(
        description="last value less the first; null: not kept for so long"
    )
    sudden_changes: int | None = Field(
        description="values that differ from the one before by more than the delta threshold; "
        "null: not counted for so long"
    )


class Window(BaseModel):
    """Whole minutes up to now."""

    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")
    readings: int = Field(ge=0)
    metrics: dict[Literal["temperature", "humidity", "pressure"], MetricWindow | None] = Field(
        description="null: no value in the window"
    )


class DeviceAnalytics(BaseModel):
    """Where a device's metrics are going, and what they were."""

    device_id: str = Field(examples=["weather_station_001534"])
    trend: DeviceTrend | None = Field(description="null: the device has no reading, or see source")
    windows: dict[Literal["5m", "15m", "1h", "24h"], Window] | None = Field(
        description="null: ClickHouse is away"
    )


class Ages(BaseModel):
    """Seconds."""

    p50: float = Field(ge=0)
    p99: float = Field(ge=0)


class DeviceCounts(BaseModel):
    """Devices by what they are and how they stand."""

    total: int
    by_type: dict[str, int]
    by_region: dict[str, int] = Field(description='"": not told')
    by_status: dict[str, int]
    newest_reading: datetime | None
    age_of_latest_seconds: Ages | None = Field(
        description="how old the latest readings of the devices are that are not silent"
    )


class ReadingCounts(BaseModel):
    """Readings by their own time, each once; null: not known, or too much to count now."""

    up_to: datetime | None = Field(description="end of the last minute that is counted")
    last_minute: int | None
    last_hour: int | None = Field(description="sixty minutes up to `up_to`")
    last_day: int | None = Field(description="the last 24 whole hours")
    total: int | None = Field(description="ever stored, also those that have expired")
    per_second: float | None = Field(description="over the last minute")
    last_hour_by_region: dict[str, int] | None
    last_hour_by_type: dict[str, int] | None
    rows: int = Field(description="on disk; what was delivered twice counts until it is merged")
    bytes_on_disk: int


class RejectCounts(BaseModel):
    """What broke a rule of the contract."""

    rows: int = Field(description="on disk")
    last_hour: int | None
    last_hour_by_reason: dict[str, int] | None


class SystemStats(BaseModel):
    """Figures about the whole system."""

    model_config = ConfigDict(extra="forbid")

    at: datetime = Field(description="when they were counted")
    devices: DeviceCounts
    readings: ReadingCounts
    rejects: RejectCounts
