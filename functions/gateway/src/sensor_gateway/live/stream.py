"""One client's stream: what it has not been sent yet, never more than one value of each thing."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from sensor_gateway.live.changes import END, STATUS, Change
from sensor_gateway.live.filters import Filter
from sensor_shared.contracts.access import Claims
from sensor_shared.telemetry import metrics

_CHUNK_BYTES: Final = 32 * 1024
_RETRY_MS: Final = 2_000


@dataclass(eq=False)
class Stream:
    """Waits for changes and writes them as fast as its client reads.

    A client that reads slowly is sent the newest value of each device, not each value. Only the
    last event of what was waiting carries an id: then nothing older is left unsent, and a client
    that comes back with the id before it gets all of it again.

    Args:
        caller: who opened it.
        follows: the devices.
        since: version of the last change that the client has.
        prefix: with which the ids of its events begin.
        life: seconds that it may last.
        heartbeat: seconds of silence after which a comment is sent.
    """

    caller: Claims
    follows: Filter
    since: int
    prefix: str
    life: float
    heartbeat: float
    begun: bool = False
    """True once it was told what had changed before it was opened."""
    _waiting: dict[tuple[str, str], Change] = field(default_factory=dict)
    _version: int = 0
    _status: str | None = None
    _told: str | None = None
    _ended: str | None = None
    _awake: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, changes: Iterable[Change], version: int) -> None:
        """Adds what has changed.

        Args:
            changes: each takes the place of an older one that is still waiting.
            version: of the last change that there is, be it among them or not.
        """
        for change in changes:
            self._waiting[change.key] = change
        self._version = version
        if self._waiting:
            self._awake.set()

    def tell(self, status: str) -> None:
        """Says whether changes are known now."""
        self._status = status
        self._awake.set()

    def end(self, reason: str) -> None:
        """Ends it at once."""
        self._ended = self._ended or reason
        self._awake.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Yields the stream's text, in pieces of some ten kilobytes, until it ends."""
        ends = asyncio.get_running_loop().time() + self.life
        yield format_sse_event(retry=_RETRY_MS, comment="live")
        while self._ended is None:
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                self.end("time")
                break
            try:
                async with asyncio.timeout(min(left, self.heartbeat)):
                    await self._awake.wait()
            except TimeoutError:
                if left > self.heartbeat:
                    yield KEEPALIVE_COMMENT
                continue
            self._awake.clear()
            if self._status != self._told:
                self._told = self._status
                yield _event(STATUS, f'{{"changes":"{self._status}"}}')
            async for piece in self._waiting_pieces():
                yield piece
        metrics.LIVE_ENDED.labels(self._ended).inc()
        yield _event(END, f'{{"reason":"{self._ended}"}}')

    async def _waiting_pieces(self) -> AsyncIterator[bytes]:
        batch, version = self._waiting, self._version
        if not batch:
            return
        self._waiting = {}
        piece = bytearray()
        for key, change in batch.items():
            if key in self._waiting:
                continue  # it has changed again meanwhile, and comes with the next ones
            piece += change.event()
            metrics.LIVE_EVENTS.inc()
            if len(piece) >= _CHUNK_BYTES:
                yield bytes(piece)
                piece.clear()
                if self._ended is not None:
                    return
                await asyncio.sleep(0)
        # An event without data only sets the id that the client comes back with.
        piece += format_sse_event(id=f"{self.prefix}{version}")
        yield bytes(piece)


def _event(name: str, data: str) -> bytes:
    return format_sse_event(event=name, data_str=data)
