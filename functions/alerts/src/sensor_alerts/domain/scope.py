"""Which alerts something is about: a silence, or a route of notifications."""

from fnmatch import fnmatchcase
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.contracts.rules import AlertType, Severity

_MAX: Final = 100
Pattern = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]


class Scope(BaseModel):
    """Alerts that meet every list that is not empty; without any, all alerts.

    Attributes:
        devices: patterns of ids, in which `*` is anything and `?` one character. A group alert has
            the id `fleet` or `region:<name>`.
        severities: just these, not the ones above them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    devices: Annotated[tuple[Pattern, ...], Field(max_length=_MAX)] = ()
    device_types: Annotated[tuple[Name, ...], Field(max_length=_MAX)] = ()
    alert_types: Annotated[tuple[AlertType, ...], Field(max_length=_MAX)] = ()
    regions: Annotated[tuple[Name, ...], Field(max_length=_MAX)] = ()
    rules: Annotated[tuple[Name, ...], Field(max_length=_MAX)] = ()
    severities: Annotated[tuple[Severity, ...], Field(max_length=len(Severity))] = ()

    def covers(self, alert: AlertSnapshot) -> bool:
        """Tells whether an alert is in the scope."""
        named = (
            (self.device_types, alert.device_type),
            (self.alert_types, alert.alert_type),
            (self.regions, alert.region),
            (self.rules, alert.rule_id),
            (self.severities, alert.severity),
        )
        return all(not wanted or given in wanted for wanted, given in named) and (
            not self.devices
            or any(fnmatchcase(alert.device_id, pattern) for pattern in self.devices)
        )
