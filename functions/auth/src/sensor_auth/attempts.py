"""Failed logins of one user from one address: counted in Redis, in this process without it."""

import math
import time
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth.domain import LockedError
from sensor_shared.telemetry.logs import logger

# A try is counted before the password is looked at, so that guesses made at the same time
# cannot slip through together. The time runs from the first; a locked try does not extend it.
_TAKE = """
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
if count >= tonumber(ARGV[1]) then
  return math.max(redis.call('PTTL', KEYS[1]), 1)
end
redis.call('INCR', KEYS[1])
if count == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
_MAX_LOCAL = 10_000


class Attempts:
    """Lets a user be tried from an address so many times in a while.

    User and address together: a stranger can lock out himself, not somebody else.

    Args:
        redis: shared by all replicas.
        limit: tries until the lock.
        seconds: that failures count, from the first of them.
        clock: seconds, for the count in this process.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        limit: int,
        seconds: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._limit = limit
        self._seconds = seconds
        self._local = LocalAttempts(limit, seconds, clock)
        self._log = logger(part="redis")

    async def take(self, username: str, address: str) -> None:
        """Counts one try.

        Raises:
            LockedError: when there were too many.
        """
        key = _key(username, address)
        try:
            left = int(await self._take(keys=[key], args=[self._limit, self._seconds * 1000]))
        except (RedisError, OSError) as error:
            self._log.warning("attempts counted in this process", error=str(error))
            left = self._local.take(key)
        if left:
            raise LockedError(math.ceil(left / 1000))

    async def forget(self, username: str, address: str) -> None:
        """Forgets the tries, after a success."""
        key = _key(username, address)
        self._local.forget(key)
        try:
            await self._redis.delete(key)
        except (RedisError, OSError):
            return


class LocalAttempts:
    """The same count for one process, bounded: the oldest is forgotten beyond 10,000."""

    def __init__(self, limit: int, seconds: int, clock: Callable[[], float]):
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._counts: dict[str, tuple[int, float]] = {}

    def take(self, key: str) -> int:
        """Counts a try; returns 0, or the milliseconds that the lock lasts."""
        now = self._clock()
        count, ends = self._counts.get(key, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + self._seconds
        if count >= self._limit:
            return max(1, math.ceil((ends - now) * 1000))
        self._counts.pop(key, None)
        self._counts[key] = (count + 1, ends)
        if len(self._counts) > _MAX_LOCAL:
            del self._counts[next(iter(self._counts))]
        return 0

    def forget(self, key: str) -> None:
        """Forgets the tries."""
        self._counts.pop(key, None)


def _key(username: str, address: str) -> str:
    return f"auth:attempts:{address}:{username}"
