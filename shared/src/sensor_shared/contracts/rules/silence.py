"""When a device counts as silent, and when many of them are one matter."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sensor_shared.contracts.rules.kinds import Duration, Severity
from sensor_shared.contracts.rules.rule import RuleId
from sensor_shared.contracts.rules.scope import Scope


class SilenceRule(BaseModel):
    """A device is offline after so many of its intervals without a reading, by event time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: RuleId = "device-offline"
    every: Annotated[Duration, Field(gt=0)] = 1.0
    """Seconds between two readings of a device."""
    intervals: Annotated[int, Field(ge=2, le=100_000)] = 60
    severity: Severity = Severity.HIGH
    scope: Scope = Scope()
    enabled: bool = True

    @property
    def limit_ms(self) -> int:
        """Milliseconds without a reading after which a device is offline."""
        return int(self.every * self.intervals * 1000)


class SilenceGroups(BaseModel):
    """When devices that fall silent together are one alert."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a region's devices."""
    fleet_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of all devices."""
    min_devices: Annotated[int, Field(ge=2)] = 20
    """Fewer are alerts of their own, whatever their share."""
    severity: Severity = Severity.CRITICAL
    forget_after: Annotated[Duration, Field(gt=0)] = 7 * 86_400.0
    """A device that was silent for so long counts as taken away: nobody waits for it."""
