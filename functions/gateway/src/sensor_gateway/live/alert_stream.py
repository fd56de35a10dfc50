"""A stream of changes of alerts: every one that is followed, in order, from a place on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from fastapi.sse import format_sse_event
from redis.exceptions import RedisError

from sensor_gateway.live.alert_events import BEGIN, GAP, AlertEvent, AlertFilter, reset
from sensor_gateway.live.stream import CHUNK_BYTES, Stream, Terms
from sensor_shared.adapters import alert_tail
from sensor_shared.adapters.alert_tail import EntryId, LostError
from sensor_shared.telemetry import metrics

_AGAIN_SECONDS: Final = 0.5


class Source(Protocol):
    """What this needs of `AlertFeed`."""

    async def newest(self) -> EntryId:
        """Returns the place of the newest change."""

    async def check(self, place: EntryId) -> None:
        """Raises `LostError` when what came after the place is not held."""

    async def after(self, place: EntryId) -> Sequence[AlertEvent]:
        """Returns the next events; raises `LostError` when they are not held any more."""


class AlertStream(Stream):
    """Sends what comes after its place, as fast as its client reads.

    Where it cannot go on from a place it sends `reset`, and goes on from the newest change. An
    alert that is listed afterwards is at least as new as that.

    Args:
        terms: on which it is open.
        follows: which changes.
        source: of the events; its errors are waited out.
        place: of the last event that the client has; None: it has none, or a wrong one.
        resumes: whether it gave one.
    """

    def __init__(
        self,
        terms: Terms,
        follows: AlertFilter,
        source: Source,
        place: EntryId | None,
        *,
        resumes: bool,
    ):
        super().__init__(terms)
        self._follows = follows
        self._source = source
        self._place = place
        self._held = False
        """Whether the place was ever found to be held."""
        self._sent = place
        """Place that the client knows."""
        self._why = GAP if resumes else BEGIN
        self.wake()

    def lose(self) -> None:
        """Says that something after its place may be missing."""
        if self._place is not None:
            self._place, self._why = None, GAP
            self.wake()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields events until none is left."""
        try:
            while not self.ended:
                if self._place is None:
                    yield await self._begin()
                events = await self._next()
                if events is None:
                    continue
                if not events:
                    return
                self._place = events[-1].id
                for piece in self._joined(events):
                    yield piece
                await asyncio.sleep(0)
        except (RedisError, OSError):
            # The feed says that Redis is away, and when it is back.
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self.wake)

    def heartbeat(self) -> bytes:
        """Returns the id that it has come to without sending anything, or a comment."""
        if self._place is None or self._place in (self._sent, alert_tail.BEGIN):
            return super().heartbeat()
        self._sent = self._place
        # An event without data only sets the id that the client comes back with.
        return format_sse_event(id=str(self._place))

    async def _begin(self) -> bytes:
        why = self._why
        place = await self._source.newest()
        self._place = self._sent = place
        self._held = True
        metrics.LIVE_RESETS.labels(why).inc()
        return reset(why, None if place == alert_tail.BEGIN else str(place))

    async def _next(self) -> Sequence[AlertEvent] | None:
        """The next events, none when there are none yet; None: its place is lost."""
        place = self._place
        if place is None:
            return None
        try:
            if not self._held:
                await self._source.check(place)
                self._held = True
            events = await self._source.after(place)
        except LostError:
            self.lose()
        return events if place is self._place else None

    def _joined(self, events: Sequence[AlertEvent]) -> Sequence[bytes]:
        pieces, piece = [], bytearray()
        for event in events:
            if event.change is not None and not self._follows.takes(event.change):
                continue
            if event.change is None:
                metrics.LIVE_RESETS.labels(GAP).inc()
            piece += event.event()
            self._sent = event.id
            metrics.LIVE_EVENTS.inc()
            if len(piece) >= CHUNK_BYTES:
                pieces.append(bytes(piece))
                piece.clear()
        return [*pieces, bytes(piece)] if piece else pieces
