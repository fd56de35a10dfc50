"""The streams that one feed tells, and whether changes are known now."""

import asyncio
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from sensor_gateway.live.stream import Stream, Terms
from sensor_shared.telemetry.logs import logger

UP: Final = "up"
AWAY: Final = "away"
S = TypeVar("S", bound=Stream)
F_contra = TypeVar("F_contra", contravariant=True)


class Feed(Protocol[F_contra]):
    """What makes streams and tells them what is new."""

    def open(self, terms: Terms, follows: F_contra, last_event_id: str | None) -> Stream:
        """Returns a stream that is told from now on, and first what the client missed.

        Args:
            terms: on which it is open.
            follows: what of all that changes.
            last_event_id: of the last event that the client has.
        """

    def close(self, stream: Stream) -> None:
        """Tells this stream nothing more."""


class Followers(Generic[S]):
    """A set of streams; who has none waits for the first one."""

    def __init__(self) -> None:
        self._streams: set[S] = set()
        self._some = asyncio.Event()
        self._state = UP
        self._log = logger(part="live")

    def __iter__(self) -> Iterator[S]:
        """The streams as they are at this moment."""
        return iter(list(self._streams))

    def __len__(self) -> int:
        return len(self._streams)

    async def some(self) -> None:
        """Returns when there is one."""
        await self._some.wait()

    def add(self, stream: S) -> None:
        """Adds a stream; it learns when changes are not known."""
        self._streams.add(stream)
        if self._state != UP:
            stream.tell(self._state)
        self._some.set()

    def remove(self, stream: Stream) -> None:
        """Takes a stream out."""
        self._streams -= {stream}
        if not self._streams:
            self._some.clear()

    def tell(self, state: str, **why: str) -> None:
        """Tells all of them whether changes are known, when that is new."""
        if state == self._state:
            return
        self._state = state
        self._log.warning("changes known" if state == UP else "changes not known", **why)
        for stream in self._streams:
            stream.tell(state)
