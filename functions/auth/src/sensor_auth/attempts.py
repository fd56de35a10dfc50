"""Failed logins: who has too many of them waits; counted in Redis, in this process without it.

Three counts, so that neither guessing from many addresses nor guessing many names helps, and
nobody can lock somebody else out:

- user and address together: locked after some failures, for a while.
- one user from whatever addresses, and one address with whatever users: slowed down. Who has
  logged in from an address before is not slowed down there by what strangers do elsewhere.
"""

import ipaddress
import math
import time
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth.domain import LockedError
from sensor_auth.settings import PolicySettings
from sensor_auth.slowdown import Slowdown
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
_GIVE_BACK = """
if tonumber(redis.call('GET', KEYS[1]) or '0') > 1 then return redis.call('DECR', KEYS[1]) end
return redis.call('DEL', KEYS[1])
"""
_MAX_LOCAL = 10_000
_IPV6_NETWORK = 64
_DAY_SECONDS = 24 * 60 * 60


class Attempts:
    """Decides whether a password may be tried now.

    Args:
        redis: shared by all replicas.
        policy: the limits.
        clock: seconds, for the counts in this process.
    """

    def __init__(
        self,
        redis: Redis,
        policy: PolicySettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._give_back = redis.register_script(_GIVE_BACK)
        self._limit = policy.max_failures
        self._seconds = policy.failure_seconds
        self._known_seconds = policy.known_address_days * _DAY_SECONDS
        self._slow = Slowdown(
            redis, free=policy.slow_failures, seconds=policy.slow_seconds, clock=clock
        )
        self._local = LocalAttempts(self._limit, self._seconds, clock)
        self._log = logger(part="redis")

    async def take(self, username: str, address: str) -> None:
        """Counts one try.

        Raises:
            LockedError: when there were too many.
        """
        place = network(address)
        key = _lock(username, place)
        left = await self._count(key)
        if left:
            raise LockedError(math.ceil(left / 1000))
        wait, by = await self._slow.take(_slow_address(place)), "address"
        if not wait and not await self._known(username, place):
            wait, by = await self._slow.take(_slow_user(username)), "user"
        if wait:
            # The password is not looked at: it is no failure of this user from this address.
            await self._uncount(key)
            raise LockedError(math.ceil(wait), by)

    async def forget(self, username: str, address: str) -> None:
        """Forgets the tries, after a success, and knows the address from now on."""
        place = network(address)
        key = _lock(username, place)
        self._local.forget(key)
        await self._slow.give_back(_slow_address(place))
        await self._slow.give_back(_slow_user(username))
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.delete(key)
                pipeline.set(_known(username, place), b"", ex=self._known_seconds)
                await pipeline.execute()
        except (RedisError, OSError):
            return

    async def _count(self, key: str) -> int:
        try:
            return int(await self._take(keys=[key], args=[self._limit, self._seconds * 1000]))
        except (RedisError, OSError) as error:
            self._log.warning("attempts counted in this process", error=str(error))
            return self._local.take(key)

    async def _uncount(self, key: str) -> None:
        self._local.give_back(key)
        try:
            await self._give_back(keys=[key])
        except (RedisError, OSError):
            return

    async def _known(self, username: str, place: str) -> bool:
        try:
            return bool(await self._redis.exists(_known(username, place)))
        except (RedisError, OSError):
            return False


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

    def give_back(self, key: str) -> None:
        """Takes one try back."""
        if key in self._counts:
            count, ends = self._counts[key]
            self._counts[key] = (max(0, count - 1), ends)

    def forget(self, key: str) -> None:
        """Forgets the tries."""
        self._counts.pop(key, None)


def network(address: str) -> str:
    """Returns what counts as one address: of IPv6 the first 64 bits, which one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_NETWORK), strict=False))


def _lock(username: str, place: str) -> str:
    return f"auth:attempts:{place}:{username}"


def _known(username: str, place: str) -> str:
    return f"auth:known:{place}:{username}"


def _slow_address(place: str) -> str:
    return f"auth:slow:address:{place}"


def _slow_user(username: str) -> str:
    return f"auth:slow:user:{username}"
