"""All streams of this process: how many there may be, and when each has to end."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable

from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_gateway.live.feed import ReadingFeed
from sensor_gateway.live.filters import Filter
from sensor_gateway.live.stream import Stream
from sensor_gateway.settings import LiveSettings
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.contracts.access import Claims
from sensor_shared.telemetry import metrics


class TooManyError(Exception):
    """There is no room for one more stream; `own` when the caller's own are too many."""

    def __init__(self, *, own: bool):
        super().__init__("you follow too many streams" if own else "too many streams are followed")
        self.own = own


class Streams:
    """Opens streams and ends them: with the session, the token, their time, or the process.

    Args:
        feed: tells them what changes.
        sessions: tells whether a session stands.
        settings: the limits.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        feed: ReadingFeed,
        sessions: SessionCheck,
        settings: LiveSettings,
        *,
        now: Callable[[], float] = time.time,
    ):
        self._feed = feed
        self._sessions = sessions
        self._settings = settings
        self._now = now
        self._open: set[Stream] = set()
        self._of_user: Counter[str] = Counter()
        self._leaving = False
        self._task: asyncio.Task[None] | None = None

    @property
    def watched(self) -> bool:
        """False when the sessions are looked at no more."""
        return self._task is None or not self._task.done()

    def start(self) -> None:
        """Begins to look at the sessions; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="live sessions")

    def leave(self) -> None:
        """Ends all streams at once, and every one opened later; clients come back elsewhere."""
        self._leaving = True
        for stream in self._open:
            stream.end("shutdown")

    async def stop(self) -> None:
        """Ends all streams and what looks after them."""
        self.leave()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def open(self, caller: Claims, follows: Filter, last_event_id: str | None) -> Stream:
        """Returns a stream; `close` it, whatever happens.

        Args:
            caller: whose token it lives on.
            follows: the devices.
            last_event_id: of the last event that the client has; one of another process, of
                another filter, or nobody's, counts as none: then it gets all that is known.

        Raises:
            TooManyError: when there are too many.
        """
        limits = self._settings
        if self._of_user[caller.subject] >= limits.streams_per_user:
            raise TooManyError(own=True)
        if len(self._open) >= limits.streams:
            raise TooManyError(own=False)
        prefix = f"{self._feed.instance}-{follows.digest}-"
        stream = Stream(
            caller,
            follows,
            since=_version(last_event_id, prefix),
            prefix=prefix,
            life=min(limits.max_seconds, max(0.0, caller.expires_at - self._now())),
            heartbeat=limits.heartbeat_seconds,
        )
        self._open.add(stream)
        self._of_user[caller.subject] += 1
        metrics.LIVE_STREAMS.set(len(self._open))
        if self._leaving:
            stream.end("shutdown")
        self._feed.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        self._feed.remove(stream)
        if stream not in self._open:
            return
        self._open.discard(stream)
        self._of_user[stream.caller.subject] -= 1
        self._of_user += Counter()  # only those above zero stay
        metrics.LIVE_STREAMS.set(len(self._open))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.session_seconds)
            sessions: dict[str, list[Stream]] = {}
            for stream in self._open:
                sessions.setdefault(stream.caller.session, []).append(stream)
            for session, streams in sessions.items():
                if not await self._stands(session):
                    for stream in streams:
                        stream.end("session")

    async def _stands(self, session: str) -> bool:
        try:
            return await self._sessions.stands(session)
        except (DatabaseAwayError, ClickHouseError):
            return True  # without Redis nothing is sent; it is asked again


def _version(last_event_id: str | None, prefix: str) -> int:
    number = (last_event_id or "").removeprefix(prefix)
    own = last_event_id is not None and last_event_id.startswith(prefix)
    return int(number) if own and number.isascii() and number.isdigit() else 0
