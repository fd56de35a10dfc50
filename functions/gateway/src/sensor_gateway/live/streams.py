"""All streams of this process, of every kind: how many there may be, and when each has to end."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_gateway.live.followers import Feed
from sensor_gateway.live.stream import Stream, Terms
from sensor_gateway.settings import LiveSettings
from sensor_shared.adapters.api_keys import KeyCheck
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.contracts.access import Claims
from sensor_shared.runtime import tasks
from sensor_shared.telemetry import metrics

F = TypeVar("F")


class TooManyError(Exception):
    """There is no room for one more stream; `own` when the caller's own are too many."""

    def __init__(self, *, own: bool):
        super().__init__("you follow too many streams" if own else "too many streams are followed")
        self.own = own


class Streams:
    """Opens streams and ends them: with the session, the token or key, their time, or the process.

    Args:
        sessions: tells whether a session stands.
        keys: tells whether an API key still opens something.
        settings: the limits.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        sessions: SessionCheck,
        keys: KeyCheck,
        settings: LiveSettings,
        *,
        now: Callable[[], float] = time.time,
    ):
        self._sessions = sessions
        self._keys = keys
        self._settings = settings
        self._now = now
        self._open: dict[Stream, Feed[Any]] = {}
        self._of_user: Counter[str] = Counter()
        self._leaving = False
        self._task: asyncio.Task[None] | None = None

    @property
    def watched(self) -> bool:
        """False when the sessions and keys are looked at no more."""
        return self._task is None or not self._task.done()

    def start(self) -> None:
        """Begins to look at the sessions and keys; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="live sessions")

    def leave(self) -> None:
        """Ends all streams at once, and every one opened later; clients come back elsewhere."""
        self._leaving = True
        for stream in self._open:
            stream.end("shutdown")

    async def stop(self) -> None:
        """Ends all streams and what looks after them."""
        self.leave()
        await tasks.end([self._task])

    def open(self, feed: Feed[F], caller: Claims, follows: F, last_event_id: str | None) -> Stream:
        """Returns a stream; `close` it, whatever happens.

        Args:
            feed: tells it what is new.
            caller: whose token it lives on.
            follows: what it is told of.
            last_event_id: of the last event that the client has.

        Raises:
            TooManyError: when there are too many.
        """
        limits = self._settings
        if self._of_user[caller.subject] >= limits.streams_per_user:
            raise TooManyError(own=True)
        if len(self._open) >= limits.streams:
            raise TooManyError(own=False)
        life = min(limits.max_seconds, max(0.0, caller.expires_at - self._now()))
        stream = feed.open(Terms(caller, life, limits.heartbeat_seconds), follows, last_event_id)
        self._open[stream] = feed
        self._of_user[caller.subject] += 1
        metrics.LIVE_STREAMS.set(len(self._open))
        if self._leaving:
            stream.end("shutdown")
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        feed = self._open.pop(stream, None)
        if feed is None:
            return
        feed.close(stream)
        self._of_user[stream.terms.caller.subject] -= 1
        self._of_user += Counter()  # only those above zero stay
        metrics.LIVE_STREAMS.set(len(self._open))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.session_seconds)
            opened_by: dict[tuple[bool, str], list[Stream]] = {}
            for stream in self._open:
                caller = stream.terms.caller
                credential = caller.token_id if caller.by_key else caller.session
                opened_by.setdefault((caller.by_key, credential), []).append(stream)
            for (by_key, credential), streams in opened_by.items():
                if not await self._stands(credential, by_key=by_key):
                    for stream in streams:
                        stream.end("session")

    async def _stands(self, credential: str, *, by_key: bool) -> bool:
        try:
            return await (self._keys if by_key else self._sessions).stands(credential)
        except (DatabaseAwayError, ClickHouseError):
            return True  # without Redis nothing is sent; it is asked again
