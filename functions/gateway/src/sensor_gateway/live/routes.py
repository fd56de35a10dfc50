"""The REST operations of the live stream."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response, Security
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from sensor_gateway.live.filters import Filter
from sensor_gateway.live.guard import TicketGuard
from sensor_gateway.live.stream import Stream
from sensor_gateway.live.streams import Streams, TooManyError
from sensor_gateway.live.tickets import TICKET_SECONDS, Tickets
from sensor_gateway.parameters import DEVICE_ID_PATTERN
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses

TAG = {"name": "live", "description": "Changes as they come."}
MAX_DEVICES = 200
"""That one stream may name; more are followed by region, by type, or all."""
_MAX_CHOICES = 20
_MAX_EVENT_ID = 64
_EXAMPLE = """retry: 2000

event: reading
data: {"device_id":"weather_station_001534","timestamp":"2026-11-25T10:00:00.000Z",\
"temperature":21.437,"humidity":48.2,"pressure":1013.25,"status":"active",\
"location":{"latitude":40.5,"longitude":27.25,"region":"north"}}

id: 5e1f3c2a-0d4f8a11-42

"""
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The stream",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}
DeviceIds = list[Annotated[str, Field(pattern=DEVICE_ID_PATTERN)]]
Choices = list[Annotated[str, Field(min_length=1, max_length=128)]]
EventId = Annotated[str | None, Field(max_length=_MAX_EVENT_ID)]


class Ticket(BaseModel):
    """What opens one stream, once."""

    ticket: str = Field(min_length=43, description="sent as `?ticket=…`")
    expires_in: int = Field(gt=0, description="seconds", examples=[TICKET_SECONDS])


class _StreamResponse(StreamingResponse):
    """Closes the stream however the answer ends, also when it never begins."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, streams: Streams):
        # Proxies of nginx's kind would otherwise wait until some kilobytes have come together.
        super().__init__(stream.events(), headers={"X-Accel-Buffering": "no"})
        self._stream = stream
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.close(self._stream)


def live_routes(
    guard: Guard, ticket_guard: TicketGuard, tickets: Tickets, streams: Streams
) -> APIRouter:
    """Returns the stream, and the tickets for it."""
    router = APIRouter(prefix="/api/v1/live", tags=["live"])

    @router.get(
        "",
        summary="Live stream",
        status_code=200,
        response_class=_StreamResponse,
        responses={**_STREAM, **responses(429, 503)},
    )
    async def live(  # noqa: PLR0917  (FastAPI passes them by name)
        caller: Annotated[Claims, Security(ticket_guard, scopes=[Action.LIVE_FOLLOW])],
        device_id: Annotated[
            DeviceIds | None, Query(max_length=MAX_DEVICES, description="these; default: all")
        ] = None,
        region: Annotated[
            Choices | None, Query(max_length=_MAX_CHOICES, description="those in one of these")
        ] = None,
        type_: Annotated[
            Choices | None,
            Query(alias="type", max_length=_MAX_CHOICES, description="those of one of these"),
        ] = None,
        last_event_id: Annotated[
            EventId, Query(description="as the header, for a browser that opens it anew")
        ] = None,
        last_event_id_header: Annotated[
            EventId, Header(alias="Last-Event-ID", description="of the last event that was read")
        ] = None,
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
        try:
            stream = streams.open(caller, follows, last_event_id_header or last_event_id)
        except TooManyError as error:
            status, wait = (429, "30") if error.own else (503, "5")
            raise HTTPException(status, str(error), headers={"Retry-After": wait}) from error
        return _StreamResponse(stream, streams)

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
        try:
            ticket = await tickets.make(caller, Action.LIVE_FOLLOW)
        except (RedisError, OSError) as error:
            raise HTTPException(
                503, "tickets cannot be made now", headers={"Retry-After": "1"}
            ) from error
        return Ticket(ticket=ticket, expires_in=TICKET_SECONDS)

    return router
