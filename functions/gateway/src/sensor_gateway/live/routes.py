"""The REST operations of the live stream of readings."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response, Security

from sensor_gateway.live.feed import ReadingFeed
from sensor_gateway.live.filters import Filter
from sensor_gateway.live.guard import TicketGuard
from sensor_gateway.live.opening import (
    MAX_CHOICES,
    MAX_DEVICES,
    Choices,
    DeviceIds,
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
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses

_EXAMPLE: Final = """retry: 2000

event: reading
data: {"device_id":"weather_station_001534","timestamp":"2026-11-25T10:00:00.000Z",\
"temperature":21.437,"humidity":48.2,"pressure":1013.25,"status":"active",\
"location":{"latitude":40.5,"longitude":27.25,"region":"north"}}

id: 5e1f3c2a-0d4f8a11-42

"""


def live_routes(
    guard: Guard,
    ticket_guard: TicketGuard,
    tickets: Tickets,
    streams: Streams,
    feed: ReadingFeed,
) -> APIRouter:
    """Returns the stream, and the tickets for it."""
    router = APIRouter(prefix="/api/v1/live", tags=["live"])

    @router.get(
        "",
        summary="Live stream",
        status_code=200,
        response_class=StreamResponse,
        responses={**described(_EXAMPLE), **responses(429, 503)},
    )
    async def live(
        caller: Annotated[Claims, Security(ticket_guard, scopes=[Action.LIVE_FOLLOW])],
        device_id: Annotated[
            DeviceIds | None, Query(max_length=MAX_DEVICES, description="these; default: all")
        ] = None,
        region: Annotated[
            Choices | None, Query(max_length=MAX_CHOICES, description="those in one of these")
        ] = None,
        type_: Annotated[
            Choices | None,
            Query(alias="type", max_length=MAX_CHOICES, description="those of one of these"),
        ] = None,
        last_event_id: LastEventId = None,
    ) -> Response:
        """Sends the latest reading of each device that is followed, then each newer one.

        `event: reading` has the document of `/devices/{device_id}/metrics` as data. Who reads
        slowly is sent the newest reading of each device, not each reading. Who comes back with the
        id of the last event gets the newest reading of every device that has changed since then;
        where that cannot be told, of all that are followed. `event: status` says whether changes
        are known now: `{"changes":"up"}` or `{"changes":"away"}`. `event: end` says why the stream
        ends: `time`, `session` or `shutdown`; open it again. Comments are heartbeats.
        """
        follows = Filter(
            frozenset(device_id or ()), frozenset(region or ()), frozenset(type_ or ())
        )
        return opened(streams, feed, caller, follows, last_event_id)

    @router.post(
        "/tickets",
        summary="A ticket for the live stream",
        status_code=201,
        responses=responses(503),
    )
    async def make_ticket(
        caller: Annotated[Claims, Security(guard, scopes=[Action.LIVE_FOLLOW])],
    ) -> Ticket:
        """Answers a ticket that opens one live stream, once, within 30 seconds.

        For a browser's EventSource, which cannot send a header. The stream ends with the session
        and the token that the ticket was made with.
        """
        return await ticket_for(tickets, caller, Action.LIVE_FOLLOW)

    return router
