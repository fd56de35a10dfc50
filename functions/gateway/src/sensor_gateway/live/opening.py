"""What the operations of all streams have in common: how one is opened, and tickets for it."""

from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from sensor_gateway.live.followers import Feed
from sensor_gateway.live.stream import Stream
from sensor_gateway.live.streams import Streams, TooManyError
from sensor_gateway.live.tickets import TICKET_SECONDS, Tickets
from sensor_gateway.parameters import DEVICE_ID_PATTERN
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.runtime.function import Receive, Scope, Send

TAG: Final = {"name": "live", "description": "Changes as they come."}
MAX_DEVICES: Final = 200
"""That one stream may name; more are followed by region, by type, or all."""
MAX_CHOICES: Final = 20
DeviceIds = list[Annotated[str, Field(pattern=DEVICE_ID_PATTERN)]]
Choices = list[Annotated[str, Field(min_length=1, max_length=128)]]
EventId = Annotated[str | None, Field(max_length=64)]
F = TypeVar("F")


def _last_event_id(
    last_event_id: Annotated[
        EventId, Query(description="as the header, for a browser that opens it anew")
    ] = None,
    last_event_id_header: Annotated[
        EventId, Header(alias="Last-Event-ID", description="of the last event that was read")
    ] = None,
) -> str | None:
    return last_event_id_header or last_event_id


LastEventId = Annotated[str | None, Depends(_last_event_id)]
"""Of the last event that the client has; the header goes before the query."""


class Ticket(BaseModel):
    """What opens one stream, once."""

    ticket: str = Field(min_length=43, description="sent as `?ticket=…`")
    expires_in: int = Field(gt=0, description="seconds", examples=[TICKET_SECONDS])


class StreamResponse(StreamingResponse):
    """Closes the stream however the answer ends, also when it never begins."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, streams: Streams):
        # Proxies of nginx's kind would otherwise wait until some kilobytes have come together.
        super().__init__(stream.events(), headers={"X-Accel-Buffering": "no"})
        self._stream = stream
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the stream until one side ends it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.close(self._stream)


def described(example: str) -> dict[int | str, dict[str, Any]]:
    """Returns what the document says of a stream.

    Args:
        example: how one begins.
    """
    content = {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": "The stream", "content": content}}


def opened(
    streams: Streams, feed: Feed[F], caller: Claims, follows: F, last_event_id: str | None
) -> StreamResponse:
    """Opens a stream.

    Raises:
        HTTPException: 429 when the caller follows too many, 503 when all together do.
    """
    try:
        stream = streams.open(feed, caller, follows, last_event_id)
    except TooManyError as error:
        status, wait = (429, "30") if error.own else (503, "5")
        raise HTTPException(status, str(error), headers={"Retry-After": wait}) from error
    return StreamResponse(stream, streams)


async def ticket_for(tickets: Tickets, caller: Claims, action: Action) -> Ticket:
    """Makes a ticket for the stream that takes the action.

    Raises:
        HTTPException: 403 for a key: a ticket stands for a session, and a machine can send its key
            in the head; 503 when Redis, which keeps the tickets, is away.
    """
    if caller.by_key:
        raise HTTPException(403, "a key makes no tickets: open the stream with the key itself")
    try:
        ticket = await tickets.make(caller, action)
    except (RedisError, OSError) as error:
        raise HTTPException(
            503, "tickets cannot be made now", headers={"Retry-After": "1"}
        ) from error
    return Ticket(ticket=ticket, expires_in=TICKET_SECONDS)
