"""Tries by keys: so many failures in a while, counting those under way as if they would fail.

So guesses made at the same time cannot slip through together, and logins that are right wait for
one another for a moment at most. Counted in Redis, in this process while Redis is away.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_shared.telemetry.logs import logger

OTHERS_FIRST: Final = -1
"""Others are under way, and if they fail no try is left: ask again in a moment."""

# The time runs from the first try; a locked one does not extend it.
# ARGV: most failures, ms that they count. Returns 0, ms of the lock, or OTHERS_FIRST.
_TAKE = """
local failed = tonumber(redis.call('HGET', KEYS[1], 'failed') or '0')
local trying = tonumber(redis.call('HGET', KEYS[1], 'trying') or '0')
if failed >= tonumber(ARGV[1]) then return math.max(redis.call('PTTL', KEYS[1]), 1) end
if failed + trying >= tonumber(ARGV[1]) then return -1 end
redis.call('HINCRBY', KEYS[1], 'trying', 1)
if failed + trying == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
# ARGV: the outcome, ms that a failure counts.
_FINISH = """
local there = redis.call('EXISTS', KEYS[1])
if there == 1 and redis.call('HINCRBY', KEYS[1], 'trying', -1) <= 0 then
  redis.call('HDEL', KEYS[1], 'trying')
end
if ARGV[1] == 'right' then redis.call('HDEL', KEYS[1], 'failed') end
if ARGV[1] == 'wrong' then
  redis.call('HINCRBY', KEYS[1], 'failed', 1)
  if there == 0 or redis.call('PTTL', KEYS[1]) < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  end
end
return 0
"""
_MAX_LOCAL = 10_000


class Outcome(StrEnum):
    """What became of a try."""

    RIGHT = "right"
    """The failures before it are forgotten."""
    WRONG = "wrong"
    WITHDRAWN = "withdrawn"
    """Nothing was looked at; it is as if it had not been."""


class Tries:
    """Counts of all replicas.

    Args:
        redis: shared by them.
        limit: failures until the lock.
        seconds: that failures count, from the first of them.
        clock: seconds, for the count in this process.
    """

    def __init__(self, redis: Redis, *, limit: int, seconds: int, clock: Callable[[], float]):
        self._take = redis.register_script(_TAKE)
        self._finish = redis.register_script(_FINISH)
        self._limit = limit
        self._milliseconds = seconds * 1000
        self._local = LocalTries(limit, seconds, clock)
        self._log = logger(part="redis")

    async def take(self, key: str) -> int:
        """Begins a try; returns 0, the milliseconds of the lock, or OTHERS_FIRST."""
        try:
            return int(await self._take(keys=[key], args=[self._limit, self._milliseconds]))
        except (RedisError, OSError) as error:
            self._log.warning("attempts counted in this process", error=str(error))
            return self._local.take(key)

    async def finish(self, key: str, outcome: Outcome) -> None:
        """Ends a try that was begun."""
        self._local.finish(key, outcome)
        try:
            await self._finish(keys=[key], args=[str(outcome), self._milliseconds])
        except (RedisError, OSError):
            return


class LocalTries:
    """The same count for one process, bounded: the oldest is forgotten beyond 10,000."""

    def __init__(self, limit: int, seconds: int, clock: Callable[[], float]):
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._counts: dict[str, tuple[int, int, float]] = {}

    def take(self, key: str) -> int:
        """Begins a try; as `Tries.take`."""
        now = self._clock()
        failed, trying, ends = self._counts.get(key, (0, 0, 0.0))
        if ends <= now:
            failed, trying, ends = 0, 0, now + self._seconds
        if failed >= self._limit:
            return max(1, math.ceil((ends - now) * 1000))
        if failed + trying >= self._limit:
            return OTHERS_FIRST
        self._counts.pop(key, None)
        self._counts[key] = (failed, trying + 1, ends)
        if len(self._counts) > _MAX_LOCAL:
            del self._counts[next(iter(self._counts))]
        return 0

    def finish(self, key: str, outcome: Outcome) -> None:
        """Ends a try, if it was begun here."""
        failed, trying, ends = self._counts.get(key, (0, 0, 0.0))
        if not trying:
            return
        failed = 0 if outcome is Outcome.RIGHT else failed + (outcome is Outcome.WRONG)
        if failed or trying > 1:
            self._counts[key] = (failed, trying - 1, ends)
        else:
            del self._counts[key]
