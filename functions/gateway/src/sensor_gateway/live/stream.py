"""One client's stream: it waits for what is new, and is written as fast as its client reads."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from sensor_shared.contracts.access import Claims
from sensor_shared.telemetry import metrics

CHUNK_BYTES: Final = 32 * 1024
STATUS: Final = "status"
END: Final = "end"
_RETRY_MS: Final = 2_000


@dataclass(frozen=True)
class Terms:
    """On what a stream is open.

    Attributes:
        caller: who opened it.
        life: seconds that it may last.
        heartbeat: seconds of silence after which something is sent.
    """

    caller: Claims
    life: float
    heartbeat: float


class Stream(ABC):
    """What all kinds of streams have in common: states, heartbeats, and an end.

    Args:
        terms: on which it is open.
    """

    def __init__(self, terms: Terms):
        self.terms = terms
        self._status: str | None = None
        self._told: str | None = None
        self._ended: str | None = None
        self._awake = asyncio.Event()

    @property
    def ended(self) -> bool:
        """True when nothing more is to be sent."""
        return self._ended is not None

    def wake(self) -> None:
        """Says that there may be something new."""
        self._awake.set()

    def tell(self, status: str) -> None:
        """Says whether changes are known now."""
        self._status = status
        self.wake()

    def end(self, reason: str) -> None:
        """Ends it at once."""
        self._ended = self._ended or reason
        self.wake()

    async def events(self) -> AsyncIterator[bytes]:
        """Yields the stream's text, in pieces of some ten kilobytes, until it ends."""
        terms, clock = self.terms, asyncio.get_running_loop().time
        ends = clock() + terms.life
        yield format_sse_event(retry=_RETRY_MS, comment="live")
        quiet = clock()
        while self._ended is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(ends, quiet + terms.heartbeat)):
                    await self._awake.wait()
            if clock() >= ends:
                self.end("time")
            elif self._awake.is_set():
                self._awake.clear()
                async for piece in self._news():
                    yield piece
                    quiet = clock()
            if self._ended is None and clock() >= quiet + terms.heartbeat:
                yield self.heartbeat()
                quiet = clock()
        metrics.LIVE_ENDED.labels(self._ended).inc()
        yield _event(END, f'{{"reason":"{self._ended}"}}')

    async def _news(self) -> AsyncIterator[bytes]:
        if self._status != self._told:
            self._told = self._status
            yield _event(STATUS, f'{{"changes":"{self._status}"}}')
        async for piece in self.pieces():
            yield piece

    @abstractmethod
    def pieces(self) -> AsyncIterator[bytes]:
        """Yields what is new, in pieces; stops soon when it is `ended`."""

    def heartbeat(self) -> bytes:
        """Returns what is sent after a silence."""
        return KEEPALIVE_COMMENT


def _event(name: str, data: str) -> bytes:
    return format_sse_event(event=name, data_str=data)
