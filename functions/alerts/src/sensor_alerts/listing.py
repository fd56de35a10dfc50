"""Which alerts a list has, in which order, and where a page of it begins: as SQL."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sensor_alerts.domain.alert import Record, epoch_ms
from sensor_alerts.places import Place
from sensor_shared.contracts.alert_changes import AlertState
from sensor_shared.contracts.rules import AlertType, Severity

_AT: Final = "fromUnixTimestamp64Milli({at:Int64}, 'UTC')"
_OLDER: Final = f"(timestamp <= {_AT} AND (timestamp < {_AT} OR alert_id > {{after:String}}))"


class Order(StrEnum):
    """What comes first. All of them go on by the id, so that no two alerts have one place."""

    NEWEST = "newest"
    OLDEST = "oldest"
    SEVERITY = "severity"
    """The most severe, of them the newest."""

    def sql(self) -> str:
        """Returns what stands behind ORDER BY."""
        return _SORTED[self]

    def behind(self, place: Place | None) -> tuple[str, dict[str, Any]]:
        """Returns the condition of what comes after a place, and its parameters."""
        if place is None:
            return "1", {}
        parameters: dict[str, Any] = {"at": place.at_ms, "after": place.id}
        if self is Order.SEVERITY:
            parameters["rank"] = place.rank
        return _BEHIND[self], parameters

    def place(self, record: Record) -> Place:
        """Returns the place of an alert in a list of this order."""
        rank = record.alert.severity.rank if self is Order.SEVERITY else 0
        return Place(record.first_ms, record.alert.alert_id, rank)


_SORTED: Final = {
    Order.NEWEST: "timestamp DESC, alert_id",
    Order.OLDEST: "timestamp, alert_id",
    Order.SEVERITY: "severity DESC, timestamp DESC, alert_id",
}
_BEHIND: Final = {
    Order.NEWEST: _OLDER,
    Order.OLDEST: (f"timestamp >= {_AT} AND (timestamp > {_AT} OR alert_id > {{after:String}})"),
    Order.SEVERITY: (
        f"toInt8(severity) <= {{rank:Int8}} AND (toInt8(severity) < {{rank:Int8}} OR {_OLDER})"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which alerts; None and empty: all of them. Both ends of the span belong to it."""

    device_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    min_severity: Severity | None = None
    state: AlertState | None = None
    acknowledged: bool | None = None
    region: str | None = None
    rule_id: str | None = None
    alert_types: tuple[AlertType, ...] = ()

    def sql(self) -> tuple[str, dict[str, Any]]:
        """Returns conditions for WHERE, and their parameters."""
        given: list[tuple[str, str, Any]] = [
            ("device_id = {device:String}", "device", self.device_id),
            ("region = {region:String}", "region", self.region),
            ("rule_id = {rule:String}", "rule", self.rule_id),
            ("toString(state) = {state:String}", "state", self.state and self.state.value),
            (
                "timestamp >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')",
                "start",
                self.start and epoch_ms(self.start),
            ),
            (
                "timestamp <= fromUnixTimestamp64Milli({end:Int64}, 'UTC')",
                "end",
                self.end and epoch_ms(self.end),
            ),
            (
                "toInt8(severity) >= {severity:Int8}",
                "severity",
                self.min_severity and self.min_severity.rank,
            ),
            (
                "(acknowledged_by != '') = {acknowledged:UInt8}",
                "acknowledged",
                None if self.acknowledged is None else int(self.acknowledged),
            ),
            (
                "alert_type IN {types:Array(String)}",
                "types",
                [one.value for one in self.alert_types] or None,
            ),
        ]
        used = [entry for entry in given if entry[2] is not None]
        conditions = ["state IN ('open', 'cleared')", *(sql for sql, _, _ in used)]
        return " AND ".join(conditions), {name: value for _, name, value in used}
