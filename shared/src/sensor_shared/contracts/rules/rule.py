"""One alert rule: what is compared, how long it must hold, and when it is over."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sensor_shared.contracts.rules.kinds import AlertType, Duration, Metric, Severity, SeveritySteps
from sensor_shared.contracts.rules.scope import Scope

RuleId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Condition = Literal["above", "below", "rising", "falling", "missing"]
_CONDITIONS: Final[tuple[Condition, ...]] = ("above", "below", "rising", "falling", "missing")


class AlertRule(BaseModel):
    """A condition on one metric: exactly one of above, below, rising, falling and missing."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    id: RuleId
    alert_type: AlertType
    metric: Metric
    above: float | None = None
    """Breached strictly above it, in the metric's unit."""
    below: float | None = None
    """Breached strictly below it."""
    rising: Annotated[float, Field(gt=0)] | None = None
    """Breached when the metric rises by more than this in a minute, over `window`."""
    falling: Annotated[float, Field(gt=0)] | None = None
    missing: Annotated[Duration, Field(gt=0)] | None = None
    """Breached when the device's readings had no value of the metric for so long."""
    clear: float | None = None
    """Over at this value; default: the threshold itself. Between the two nothing changes."""
    for_: Annotated[Duration, Field(alias="for")] = 0.0
    """How long, by the readings' own time, it must hold without interruption."""
    times: Annotated[int, Field(ge=1, le=100)] = 1
    """How many readings in a row must break it."""
    clear_for: Duration = 0.0
    clear_times: Annotated[int, Field(ge=1, le=100)] = 1
    window: Annotated[Duration, Field(ge=10, le=3_600)] = 60.0
    """Of `rising` and `falling`: between the first and the last reading that are compared."""
    severity: SeveritySteps | Severity = SeveritySteps()
    """Steps by the excess over the threshold, or one severity."""
    scope: Scope = Scope()
    about: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")] | None = None
    """Of the rules with the same one, a device has the most special alone; default: kind of
    alert, metric and condition."""
    enabled: bool = True
    """false: where this rule is the most special one, there is no alert."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [name for name in _CONDITIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(map(repr, _CONDITIONS))}")
        if not self.at_once and self.condition not in ("above", "below"):
            raise ValueError(f"'for' and 'times' do not go with {self.condition!r}")
        if self.clear is not None and (self.missing is not None or self.excess(self.clear) > 0):
            raise ValueError("'clear' must lie on the good side of the threshold")
        if self.missing is not None and not isinstance(self.severity, Severity):
            if "severity" in self.model_fields_set:
                raise ValueError("'missing' has no excess: give one severity, e.g. HIGH")
            object.__setattr__(self, "severity", Severity.MEDIUM)
        return self

    @property
    def condition(self) -> Condition:
        """Which of the conditions it is."""
        return next(name for name in _CONDITIONS if getattr(self, name) is not None)

    @property
    def key(self) -> str:
        """What only one rule of a device can be about."""
        return self.about or f"{self.alert_type}:{self.metric}:{self.condition}"

    @property
    def at_once(self) -> bool:
        """Whether one reading is enough."""
        return self.for_ == 0 and self.times == 1

    @property
    def by_reading(self) -> bool:
        """Whether a reading alone shows that the threshold is broken."""
        return self.above is not None or self.below is not None

    @property
    def threshold(self) -> float:
        """The limit, in the metric's unit, the unit per minute, or seconds."""
        threshold: float = getattr(self, self.condition)
        return threshold

    @property
    def clear_threshold(self) -> float:
        """Where it is over."""
        return self.threshold if self.clear is None else self.clear

    def excess(self, value: float) -> float:
        """How far `value` is beyond the threshold; positive when the rule is breached."""
        return self.threshold - value if self.below is not None else value - self.threshold

    def cleared_by(self, value: float) -> bool:
        """Tells whether the value is on the good side of the clear threshold."""
        if self.below is not None:
            return value >= self.clear_threshold
        return value <= self.clear_threshold

    def severity_of(self, value: float) -> Severity:
        """Returns how bad a breach by `value` is."""
        if isinstance(self.severity, Severity):
            return self.severity
        return self.severity.severity(self.excess(value))
