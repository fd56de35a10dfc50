"""Answers of ClickHouse kept for a while: in this process, and in Redis for all replicas.

However many wait for an answer, one query makes it: waiters of a process share one task, and
replicas a lock in Redis that ends by itself. Losing Redis costs each replica a query of its own.
"""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal, cast

from pydantic import Field
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.adapters.single_flight import SingleFlight
from sensor_shared.runtime.settings import Section
from sensor_shared.telemetry import metrics

Source = Literal["clickhouse", "cache", "stale"]
Fill = Callable[[], Awaitable[bytes]]

_PREFIX: Final = "gateway:cache:1:"
_DIGITS: Final = 13
_POLL_SECONDS: Final = 0.02
_RETRY_MS: Final = 1_000
"""While ClickHouse is away it is asked for an answer that is held at most this often."""
_PATIENCE_SECONDS: Final = 1.0
"""After that an answer that is held is given instead of the one that is waited for."""
_UNLOCK: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class CacheSettings(Section):
    """Section CACHE."""

    stale_seconds: Annotated[float, Field(ge=0, le=86_400)] = 3_600.0
    """Age up to which an answer is given while ClickHouse is away."""
    wait_seconds: Annotated[float, Field(gt=0, le=30)] = 2.0
    """How long a replica waits for the answer that another one fetches."""
    max_entry_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024
    """Larger answers are not kept."""
    memory_bytes: Annotated[int, Field(ge=0)] = 32 * 1024 * 1024
    """Of answers kept in this process; those used longest ago go first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and where it came from.

    Attributes:
        body: as the query made it.
        made_ms: when that was, epoch milliseconds.
        age_seconds: whole seconds since then.
        source: clickhouse (just now), cache, or stale: older than it should be.
    """

    body: bytes
    made_ms: int
    age_seconds: int
    source: Source


@dataclass(frozen=True, slots=True)
class _Entry:
    made_ms: int
    body: bytes
    good_until_ms: int
    """Until then nobody is asked."""


class Cache:
    """Keeps answers under keys; each key is used with one time to live.

    Args:
        redis: shared by the replicas.
        settings: bounds.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(
        self,
        redis: Redis,
        settings: CacheSettings,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ):
        self._redis = redis
        self._settings = settings
        self._now_ms = now_ms
        self._unlock = redis.register_script(_UNLOCK)
        self._asking: SingleFlight[Answer] = SingleFlight()
        self._held: OrderedDict[str, _Entry] = OrderedDict()
        self._held_bytes = 0

    async def get(
        self, key: str, fill: Fill, *, ttl_seconds: float, stale_seconds: float | None = None
    ) -> Answer:
        """Returns the answer under a key, made by `fill` when none younger is known.

        Args:
            key: names the question with all its parameters.
            fill: asks ClickHouse; what it raises goes to all who wait.
            ttl_seconds: age from which an answer is made anew.
            stale_seconds: age up to which it is given in need, and kept; None: as the settings
                say. Less than that where there are as many keys as devices.

        Raises:
            DatabaseAwayError: when ClickHouse is away and there is no answer, be it old.
        """
        held = self._held.get(key)
        if held is not None and self._now_ms() < held.good_until_ms:
            self._held.move_to_end(key)
            return self._answer(held, ttl_seconds)
        longest = self._settings.stale_seconds
        stale = longest if stale_seconds is None else min(stale_seconds, longest)
        flight = self._asking.flight(key, lambda: self._fetch(key, fill, ttl_seconds, stale))
        await asyncio.wait([flight], timeout=_PATIENCE_SECONDS)
        held = self._held.get(key)
        if not flight.done() and held is not None and self._age_ms(held) <= stale * 1000:
            return self._old(key, held, ttl_seconds)
        # One of the waiters may leave; the others still want the answer.
        return await asyncio.shield(flight)

    async def _fetch(self, key: str, fill: Fill, ttl: float, stale: float) -> Answer:
        known = await self._known(key, ttl)
        if known is not None and self._age_ms(known) < ttl * 1000:
            return self._answer(known, ttl)
        token = uuid.uuid4().hex
        if not await self._lock(key, token):
            shared = await self._from_another(key, known, ttl)
            if shared is not None:
                return self._answer(shared, ttl)
        try:
            body = await fill()
        except DatabaseAwayError:
            if known is None or self._age_ms(known) > stale * 1000:
                raise
            return self._old(key, known, ttl)
        finally:
            await self._release(key, token)
        made = self._now_ms()
        entry = _Entry(made, body, made + int(ttl * 1000))
        await self._keep(key, entry, ttl + stale)
        metrics.CACHE_READS.labels("clickhouse").inc()
        return Answer(body, made, 0, "clickhouse")

    async def _known(self, key: str, ttl: float) -> _Entry | None:
        """Returns the newest entry of this process and Redis."""
        held = self._held.get(key)
        try:
            # The client's type allows for text too; it is opened without decoding.
            stored = cast("bytes | None", await self._redis.get(_PREFIX + key))
        except (RedisError, OSError):
            return held
        if stored is None or (held is not None and int(stored[:_DIGITS]) <= held.made_ms):
            return held
        made = int(stored[:_DIGITS])
        entry = _Entry(made, stored[_DIGITS:], made + int(ttl * 1000))
        self._hold(key, entry)
        return entry

    async def _from_another(self, key: str, known: _Entry | None, ttl: float) -> _Entry | None:
        """Returns what another replica is about to fetch; None when that does not come.

        An answer that has just grown old is as good meanwhile.
        """
        if known is not None and self._age_ms(known) < 2 * ttl * 1000:
            return known
        deadline = time.monotonic() + self._settings.wait_seconds
        while time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            entry = await self._known(key, ttl)
            if entry is not None and self._age_ms(entry) < ttl * 1000:
                return entry
        return None

    async def _lock(self, key: str, token: str) -> bool:
        """Returns whether this process is the one to ask; so is everyone without Redis."""
        longest = int(self._settings.wait_seconds * 1000)
        try:
            return bool(await self._redis.set(_lock_key(key), token, nx=True, px=longest))
        except (RedisError, OSError):
            return True

    async def _release(self, key: str, token: str) -> None:
        try:
            await self._unlock([_lock_key(key)], [token])
        except (RedisError, OSError):
            return  # it ends by itself

    async def _keep(self, key: str, entry: _Entry, seconds: float) -> None:
        if len(entry.body) > self._settings.max_entry_bytes:
            return
        self._hold(key, entry)
        record = b"%0*d%s" % (_DIGITS, entry.made_ms, entry.body)
        try:
            await self._redis.set(_PREFIX + key, record, px=int(seconds * 1000))
        except (RedisError, OSError):
            return  # it is kept here

    def _old(self, key: str, entry: _Entry, ttl: float) -> Answer:
        """Returns what is there in need, and has nobody wait for better for a while."""
        self._hold(key, _Entry(entry.made_ms, entry.body, self._now_ms() + _RETRY_MS))
        return self._answer(entry, ttl)

    def _hold(self, key: str, entry: _Entry) -> None:
        before = self._held.pop(key, None)
        self._held_bytes += len(entry.body) - (len(before.body) if before else 0)
        self._held[key] = entry
        while self._held_bytes > self._settings.memory_bytes:
            _, oldest = self._held.popitem(last=False)
            self._held_bytes -= len(oldest.body)

    def _age_ms(self, entry: _Entry) -> int:
        return max(0, self._now_ms() - entry.made_ms)

    def _answer(self, entry: _Entry, ttl: float) -> Answer:
        age_ms = self._age_ms(entry)
        source: Source = "cache" if age_ms < ttl * 1000 else "stale"
        metrics.CACHE_READS.labels(source).inc()
        return Answer(entry.body, entry.made_ms, age_ms // 1000, source)


def _lock_key(key: str) -> str:
    return f"{_PREFIX}lock:{key}"
