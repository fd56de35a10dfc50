"""Which alerts a request asks for."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Path, Query

from sensor_gateway.alerts.models import ALERT_ID, ALERT_ID_PATTERN
from sensor_gateway.domain import SpanError
from sensor_gateway.parameters import Moment
from sensor_shared.adapters.alert_contract import alert_type_number, severity_number, stamp_ms
from sensor_shared.contracts.alert_changes import AlertState
from sensor_shared.contracts.rules import AlertType, Severity
from twinup.alert.v1 import alert_pb2

MOST = 500
"""Alerts of one page."""
SUBJECT_PATTERN = r"^[^\x00-\x1f\x7f]{1,128}$"
"""Of what an alert is about: a device, `fleet`, or `region:<name>` with any name."""
CURSOR_PATTERN = r"^[A-Za-z0-9_-]{1,1000}$"


class AlertOrder(StrEnum):
    """What comes first, by when the first breach was measured; severity: the most severe."""

    NEWEST = "newest"
    OLDEST = "oldest"
    SEVERITY = "severity"


AlertId = Annotated[
    str, Path(pattern=ALERT_ID_PATTERN, description="The alert's id.", examples=[ALERT_ID])
]
Cursor = Annotated[
    str | None,
    Query(pattern=CURSOR_PATTERN, description="`next` of another page of the same list"),
]
DeviceId = Annotated[
    str | None,
    Query(
        pattern=SUBJECT_PATTERN,
        description="of one device, or `fleet`, or `region:<name>`",
        examples=["industrial_sensor_000007"],
    ),
]
Region = Annotated[str | None, Query(min_length=1, max_length=128, examples=["west"])]
Types = Annotated[
    list[AlertType] | None,
    Query(alias="type", description="one of these", max_length=len(AlertType)),
]
MinSeverity = Annotated[
    Severity | None, Query(alias="severity", description="this one, or a worse one")
]
State = Annotated[AlertState | None, Query(description="whether it still holds")]
Acknowledged = Annotated[bool | None, Query(description="whether somebody knows")]
RuleId = Annotated[
    str | None, Query(pattern=r"^[^\x00-\x1f\x7f]{1,64}$", examples=["temperature-high"])
]
From = Annotated[
    Moment | None,
    Query(alias="from", description="of the first breach, included; default: any"),
]
To = Annotated[
    Moment | None, Query(alias="to", description="of the first breach, excluded; default: any")
]
Limit = Annotated[int, Query(ge=1, le=MOST)]

_ORDERS = {
    AlertOrder.NEWEST: alert_pb2.ALERT_ORDER_NEWEST,
    AlertOrder.OLDEST: alert_pb2.ALERT_ORDER_OLDEST,
    AlertOrder.SEVERITY: alert_pb2.ALERT_ORDER_SEVERITY,
}
_STATES = {
    AlertState.OPEN: alert_pb2.ALERT_STATE_OPEN,
    AlertState.CLEARED: alert_pb2.ALERT_STATE_CLEARED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which alerts, in which order, and which page of them; None: any."""

    device_id: str | None
    region: str | None
    types: list[AlertType] | None
    severity: Severity | None
    state: AlertState | None
    acknowledged: bool | None
    rule_id: str | None
    start_ms: int | None
    end_ms: int | None
    order: AlertOrder
    limit: int
    cursor: str | None

    def request(self) -> alert_pb2.ListAlertsRequest:
        """Returns it as the contract has it, whose span includes its end.

        Raises:
            SpanError: when there is nothing between start and end.
        """
        if self.start_ms is not None and self.end_ms is not None and self.start_ms >= self.end_ms:
            raise SpanError("`from` must be before `to`")
        return alert_pb2.ListAlertsRequest(
            device_id=self.device_id or "",
            region=self.region or "",
            alert_types=[alert_type_number(one) for one in self.types or ()],
            min_severity=(
                severity_number(self.severity)
                if self.severity
                else alert_pb2.ALERT_SEVERITY_UNSPECIFIED
            ),
            state=_STATES[self.state] if self.state else alert_pb2.ALERT_STATE_UNSPECIFIED,
            acknowledged=self.acknowledged,
            rule_id=self.rule_id or "",
            start_time=None if self.start_ms is None else stamp_ms(self.start_ms),
            end_time=None if self.end_ms is None else stamp_ms(self.end_ms - 1),
            order=_ORDERS[self.order],
            limit=self.limit,
            page_token=self.cursor or "",
        )
