"""A stream of latest readings: never more than one value of each device waits to be sent."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from fastapi.sse import format_sse_event

from sensor_gateway.live.changes import ReadingChange
from sensor_gateway.live.filters import Filter
from sensor_gateway.live.stream import CHUNK_BYTES, Stream, Terms
from sensor_shared.telemetry import metrics


class ReadingStream(Stream):
    """Is told the changes and keeps the newest of each device until it is sent.

    A client that reads slowly is sent the newest value of each device, not each value. Only the
    last event of what was waiting carries an id: then nothing older is left unsent, and a client
    that comes back with the id before it gets all of it again.

    Args:
        terms: on which it is open.
        follows: the devices.
        since: version of the last change that the client has.
        prefix: with which the ids of its events begin.
    """

    def __init__(self, terms: Terms, follows: Filter, *, since: int, prefix: str):
        super().__init__(terms)
        self.follows = follows
        self.since = since
        self.begun = False
        """True once it was told what had changed before it was opened."""
        self._prefix = prefix
        self._waiting: dict[str, ReadingChange] = {}
        self._version = 0

    def offer(self, changes: Iterable[ReadingChange], version: int) -> None:
        """Adds what has changed.

        Args:
            changes: each takes the place of an older one that is still waiting.
            version: of the last change that there is, be it among them or not.
        """
        for change in changes:
            self._waiting[change.device_id] = change
        self._version = version
        if self._waiting:
            self.wake()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields what was waiting, and then its id."""
        batch, version = self._waiting, self._version
        if not batch:
            return
        self._waiting = {}
        piece = bytearray()
        for device_id, change in batch.items():
            if device_id in self._waiting:
                continue  # it has changed again meanwhile, and comes with the next ones
            piece += change.event()
            metrics.LIVE_EVENTS.inc()
            if len(piece) >= CHUNK_BYTES:
                yield bytes(piece)
                piece.clear()
                if self.ended:
                    return
                await asyncio.sleep(0)
        # An event without data only sets the id that the client comes back with.
        piece += format_sse_event(id=f"{self._prefix}{version}")
        yield bytes(piece)
