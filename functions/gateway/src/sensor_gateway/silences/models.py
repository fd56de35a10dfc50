"""What the operations on silences take and answer."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from sensor_gateway.alerts.models import Time, Words
from sensor_gateway.domain import moment
from sensor_shared.contracts.rules import AlertType, Severity

MAX_MINUTES: Final = 365 * 24 * 60
MAX_WINDOW_MINUTES: Final = 7 * 24 * 60
_MAX: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(given: Any) -> datetime:
    if not isinstance(given, str) or given.isdigit():
        raise ValueError("must be RFC 3339 with an offset")
    return _EPOCH + timedelta(milliseconds=moment(given))


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Pattern = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$", examples=["industrial_*"])]
Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]


class Scope(BaseModel):
    """Alerts that meet every list that is not empty; without any, all alerts."""

    model_config = ConfigDict(extra="forbid")

    devices: list[Pattern] = Field(
        default=[], max_length=_MAX, description="patterns: `*` is anything, `?` one character"
    )
    device_types: list[Name] = Field(default=[], max_length=_MAX, examples=[["industrial_sensor"]])
    alert_types: list[AlertType] = Field(default=[], max_length=_MAX)
    regions: list[Name] = Field(default=[], max_length=_MAX, examples=[["west"]])
    rules: list[Name] = Field(default=[], max_length=_MAX, examples=[["temperature-high"]])
    severities: list[Severity] = Field(
        default=[], max_length=len(Severity), description="just these, not the ones above them"
    )

    @property
    def everything(self) -> bool:
        """True without any list."""
        return not any(getattr(self, name) for name in type(self).model_fields)


class Recurrence(BaseModel):
    """Windows that begin again and again, by the clocks of one time zone."""

    model_config = ConfigDict(extra="forbid")

    cron: str = Field(
        min_length=9,
        max_length=100,
        description="minute, hour, day of month, month, day of week",
        examples=["0 22 * * SAT"],
    )
    zone: str = Field(
        default="UTC", min_length=1, max_length=64, description="IANA name, e.g. `Europe/Istanbul`"
    )
    minutes: int = Field(
        ge=1, le=MAX_WINDOW_MINUTES, description="length of a window, by elapsed time"
    )


class Silence(BaseModel):
    """A silence as it is now."""

    silence_id: str
    scope: Scope
    starts_at: Time
    ends_at: Time = Field(description="excluded")
    recurrence: Recurrence | None = Field(description="null: it holds throughout")
    author: str = Field(description="who made it, or changed it last")
    reason: str
    ended_by: str = Field(description="who ended it before its time; empty: nobody")
    created_at: Time
    updated_at: Time
    active: bool = Field(description="whether it holds now")


class SilencePage(BaseModel):
    """Silences, the last to end first."""

    items: list[Silence]
    next: str | None = Field(description="`cursor` of the next page; null: this is the last")


class SilenceOfAlert(BaseModel):
    """For how long nobody is to be told, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"minutes": 60, "reason": "repair"}]}
    )

    minutes: int | None = Field(
        default=None, ge=1, le=MAX_MINUTES, description="from its start; instead of `ends_at`"
    )
    ends_at: Moment | None = Field(default=None, description="at most 366 days after its start")
    reason: Words

    @model_validator(mode="after")
    def _ends_once(self) -> Self:
        if (self.minutes is None) == (self.ends_at is None):
            raise ValueError("one of `minutes` and `ends_at` is needed, and not both")
        return self

    def end(self, start: datetime) -> datetime:
        """Returns when a silence ends that starts then."""
        if self.ends_at is not None:
            return self.ends_at
        return start + timedelta(minutes=self.minutes or 0)


class NewSilence(SilenceOfAlert):
    """A silence that is wanted."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"scope": {"regions": ["west"]}, "minutes": 60, "reason": "repair"}]
        },
    )

    scope: Scope
    starts_at: Moment | None = Field(default=None, description="default: now")
    recurrence: Recurrence | None = None
    everything: bool = Field(
        default=False, description="must be true where the scope has no list: no alert is told of"
    )

    @model_validator(mode="after")
    def _means_everything(self) -> Self:
        if self.scope.everything and not self.everything:
            raise ValueError("a scope without a list is all alerts: `everything` must be true then")
        return self


class ChangedSilence(BaseModel):
    """What is to be different; what is not given stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "longer repair"}], "minProperties": 1},
    )

    scope: Scope | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    recurrence: Recurrence | None = None
    reason: Words | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) is not None for name in type(self).model_fields):
            raise ValueError("nothing is to be changed")
        if self.scope is not None and self.scope.everything:
            raise ValueError("a scope without a list is all alerts: make another silence for that")
        return self
