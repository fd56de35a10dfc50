"""The REST operations of the live stream of alerts."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response, Security
from pydantic import Field

from sensor_gateway.alerts.parameters import SUBJECT_PATTERN
from sensor_gateway.live.alert_events import AlertFilter
from sensor_gateway.live.alert_feed import AlertFeed
from sensor_gateway.live.guard import TicketGuard
from sensor_gateway.live.opening import (
    MAX_CHOICES,
    MAX_DEVICES,
    Choices,
    LastEventId,
    StreamResponse,
    Ticket,
    described,
    opened,
    ticket_for,
)
from sensor_gateway.live.streams import Streams
from sensor_gateway.live.tickets import Tickets
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.contracts.rules import AlertType, Severity
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses

Subjects = list[Annotated[str, Field(pattern=SUBJECT_PATTERN)]]
_EXAMPLE: Final = """retry: 2000

event: reset
data: {"reason":"begin"}
id: 1795601000000-0

event: alert
data: {"change_id":"0b7e6c0d6f5e4a3b2c1d0e9f8a7b6c5d","kind":"acknowledged",\
"at":"2026-11-25T10:00:07.250Z","by":"maria","note":"on my way","severity_before":"HIGH",\
"alert":{"alert_id":"5d0c2a6c1e9b4f7f8a3d2b1c0e9f8a7b","device_id":"weather_station_001534",\
"rule_id":"temperature-high","alert_type":"TEMPERATURE_HIGH","severity":"HIGH",\
"message":"temperature 101.5 °C is above 90 °C","metric":"temperature","value":101.5,\
"threshold":90.0,"region":"north","device_type":"weather_station","latitude":40.5,\
"longitude":27.25,"state":"open","acknowledged_by":"maria",\
"acknowledged_at":"2026-11-25T10:00:07.250Z","cleared_by":"","cleared_at":null,\
"first_at":"2026-11-25T10:00:00Z","last_at":"2026-11-25T10:00:05Z","count":6,"members":0,\
"metadata":{},"version":3}}
id: 1795601007262-0

"""


def alert_live_routes(
    guard: Guard,
    ticket_guard: TicketGuard,
    tickets: Tickets,
    streams: Streams,
    feed: AlertFeed,
) -> APIRouter:
    """Returns the stream, and the tickets for it."""
    router = APIRouter(prefix="/api/v1/alerts/live", tags=["live"])

    @router.get(
        "",
        summary="Live stream of alerts",
        status_code=200,
        response_class=StreamResponse,
        responses={**described(_EXAMPLE), **responses(429, 503)},
    )
    async def live_alerts(  # noqa: PLR0917  (FastAPI passes them by name)
        caller: Annotated[Claims, Security(ticket_guard, scopes=[Action.ALERTS_READ])],
        device_id: Annotated[
            Subjects | None,
            Query(
                max_length=MAX_DEVICES,
                description="of these, or `fleet`, or `region:<name>`; default: all",
            ),
        ] = None,
        region: Annotated[
            Choices | None, Query(max_length=MAX_CHOICES, description="of one of these")
        ] = None,
        type_: Annotated[
            list[AlertType] | None,
            Query(alias="type", max_length=MAX_CHOICES, description="of one of these"),
        ] = None,
        severity: Annotated[
            Severity, Query(description="the least, before the change or after it")
        ] = Severity.LOW,
        last_event_id: LastEventId = None,
    ) -> Response:
        """Sends every change of an alert that is followed, as it happens.

        `event: alert` has the change as data: its kind, when, by whom, and the whole alert as it
        is afterwards. A change may come twice, and one replica's before another's: of an alert the
        one with the highest `version` holds. `event: reset` says that the stream does not go on
        from where the client was: list the alerts anew, and go on with what comes after it. Its
        `reason` is `begin` without an id, and `gap` when not everything after the id is held any
        more. Whoever comes back with the id of the last event, to any replica, gets every change
        since then. `event: status` and `event: end` are those of `/live`.
        """
        follows = AlertFilter(
            frozenset(device_id or ()), frozenset(region or ()), frozenset(type_ or ()), severity
        )
        return opened(streams, feed, caller, follows, last_event_id)

    @router.post(
        "/tickets",
        summary="A ticket for the live stream of alerts",
        status_code=201,
        responses=responses(503),
    )
    async def make_alert_ticket(
        caller: Annotated[Claims, Security(guard, scopes=[Action.ALERTS_READ])],
    ) -> Ticket:
        """Answers a ticket that opens one stream of alerts, once, within 30 seconds.

        For a browser's EventSource, which cannot send a header. The stream ends with the session
        and the token that the ticket was made with.
        """
        return await ticket_for(tickets, caller, Action.ALERTS_READ)

    return router
