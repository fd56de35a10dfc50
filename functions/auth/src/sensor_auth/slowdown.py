"""So many tries are free, then one in a while: slows a crowd down and never locks anybody out.

The generic cell rate algorithm: one moment per key, up to which tries have been taken.
https://www.itu.int/rec/T-REC-I.371 (annex A)
"""

import time
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

# By Redis's own clock: replicas need not agree on the time.
# ARGV: microseconds of one try, tries that are free. Returns 0, or microseconds to wait.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step, free = tonumber(ARGV[1]), tonumber(ARGV[2])
local taken = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = taken + step - now - free * step
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%.0f', taken + step),
  'PX', math.ceil((taken + step - now) / 1000))
return 0
"""
_GIVE_BACK = """
local taken = tonumber(redis.call('GET', KEYS[1]) or '0')
if taken > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', taken - ARGV[1]), 'KEEPTTL')
end
return 0
"""
_MAX_LOCAL = 10_000


class Slowdown:
    """Counts tries by keys, in Redis, and in this process while Redis is away.

    Args:
        redis: shared by all replicas.
        free: tries that need not wait.
        seconds: until one more is free again.
        clock: seconds, for the count in this process.
    """

    def __init__(self, redis: Redis, *, free: int, seconds: float, clock: Callable[[], float]):
        self._take = redis.register_script(_TAKE)
        self._give_back = redis.register_script(_GIVE_BACK)
        self._free = free
        self._seconds = seconds
        self._local = LocalSlowdown(free, seconds, clock)

    async def take(self, key: str) -> float:
        """Takes one try; returns 0, or the seconds to wait when there is none."""
        try:
            wait = await self._take(keys=[key], args=[int(self._seconds * 1e6), self._free])
        except (RedisError, OSError):
            return self._local.take(key)
        return int(wait) / 1e6

    async def give_back(self, key: str) -> None:
        """Gives one try back: it was none that counts."""
        self._local.give_back(key)
        try:
            await self._give_back(keys=[key], args=[int(self._seconds * 1e6)])
        except (RedisError, OSError):
            return


class LocalSlowdown:
    """The same for one process, bounded: the oldest is forgotten beyond 10,000."""

    def __init__(
        self, free: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._free = free
        self._seconds = seconds
        self._clock = clock
        self._taken: dict[str, float] = {}

    def take(self, key: str) -> float:
        """Takes one try; returns 0, or the seconds to wait when there is none."""
        now = self._clock()
        taken = max(self._taken.pop(key, now), now)
        wait = taken + self._seconds - now - self._free * self._seconds
        self._taken[key] = taken if wait > 0 else taken + self._seconds
        if len(self._taken) > _MAX_LOCAL:
            del self._taken[next(iter(self._taken))]
        return max(0.0, wait)

    def give_back(self, key: str) -> None:
        """Gives one try back."""
        if key in self._taken:
            self._taken[key] -= self._seconds
