"""Silences and maintenance windows: when nobody is told of which alerts."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from sensor_alerts.domain.scope import Scope
from sensor_shared.contracts.alert_changes import AlertSnapshot

MAX_LENGTH: Final = timedelta(days=366)
_MAX_WINDOW_MINUTES: Final = 7 * 24 * 60


class Recurrence(BaseModel):
    """Windows that begin again and again, by the clocks of one time zone.

    A window lasts its minutes by elapsed time, also when clocks are changed meanwhile. One that
    would begin in the hour that clocks leave out begins right after it; in the hour that comes
    twice it begins once, the first time, as cron does it (Debian's, which cronsim follows).

    Attributes:
        cron: five fields, minute, hour, day of month, month, day of week: `0 22 * * SAT`.
        zone: IANA name, e.g. `Europe/Istanbul`.
        minutes: length of a window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: Annotated[str, Field(min_length=9, max_length=100)]
    zone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    minutes: Annotated[int, Field(ge=1, le=_MAX_WINDOW_MINUTES)]

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:  # by what is wrong with the name
            raise ValueError(f"{value!r} is no time zone") from error
        return value

    @model_validator(mode="after")
    def _is_cron(self) -> Self:
        # Six fields have seconds first, for which cron's ways with changed clocks do not hold.
        if len(self.cron.split()) != 5:
            raise ValueError("cron must have five fields")
        try:
            next(CronSim(self.cron, datetime(2024, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"cron {self.cron!r}: {error or 'never'}") from error
        return self

    def since(self, now: datetime) -> datetime | None:
        """Returns when the window began that `now` is in, UTC; None: it is in none."""
        earliest = now - timedelta(minutes=self.minutes)
        # In the hour that comes twice the next one by the clock can lie before `earliest`.
        for begin in CronSim(self.cron, earliest.astimezone(ZoneInfo(self.zone))):
            moment = begin.astimezone(UTC)
            if moment > now:
                return None
            if moment > earliest:
                return moment
        return None


class Silence(BaseModel):
    """Nobody is told of the alerts in its scope while it holds; they are recorded all the same.

    Attributes:
        starts_at: from then on, UTC with milliseconds.
        ends_at: until then, exclusively; with a recurrence it holds in the windows between only.
        author: who made it, or changed it last.
        ended_by: who ended it before its time; empty: nobody.
        version: of what is stored; a higher one replaces a lower one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    silence_id: str
    scope: Scope
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    recurrence: Recurrence | None = None
    author: Annotated[str, Field(min_length=1, max_length=128)]
    reason: Annotated[str, Field(min_length=1, max_length=1_000)]
    ended_by: Annotated[str, Field(max_length=128)] = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    version: int = 1

    @field_validator("starts_at", "ends_at", "created_at", "updated_at")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        moment = value.astimezone(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if not self.ended_by and self.starts_at >= self.ends_at:
            raise ValueError("ends_at must be after starts_at")
        if self.ends_at - self.starts_at > MAX_LENGTH:
            raise ValueError(f"a silence ends after {MAX_LENGTH.days} days at most")
        return self

    def holds(self, now: datetime) -> bool:
        """Tells whether it holds at a moment."""
        if not self.starts_at <= now < self.ends_at:
            return False
        return self.recurrence is None or self.recurrence.since(now) is not None

    def silences(self, alert: AlertSnapshot, now: datetime) -> bool:
        """Tells whether nobody is told of an alert now because of it."""
        return self.scope.covers(alert) and self.holds(now)
