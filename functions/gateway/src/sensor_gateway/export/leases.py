"""What runs for a user at every replica: leases in Redis, which end with their process."""

import asyncio
import contextlib
import uuid
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

LEASE_SECONDS: Final = 30.0
_RENEWALS: Final = 3
"""In the time of a lease: one that fails costs nothing yet."""

# KEYS: the user's leases, by the moment at which each ends. ARGV: the lease, how many there may be,
# milliseconds of a lease. Takes the lease or renews it; returns 0 when there is no room for it.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1])
    and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


class Leases:
    """Makes the leases of one process.

    Args:
        redis: shared by all replicas.
        most: leases of one user, by all replicas together.
        seconds: after which a lease ends that is not renewed.
    """

    def __init__(self, redis: Redis, most: int, *, seconds: float = LEASE_SECONDS):
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._most = most
        self._seconds = seconds
        self._held: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    def begin(self, user: str) -> str:
        """Begins to hold a lease; it counts when it is `taken`, and at the next renewal if not."""
        lease = uuid.uuid4().hex
        ended = asyncio.Event()
        task = asyncio.create_task(self._hold(user, lease, ended), name="export lease")
        self._held[lease] = (ended, task)
        return lease

    async def taken(self, user: str, lease: str) -> bool:
        """Takes or renews it, and tells whether there was room.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        milliseconds = int(self._seconds * 1000)
        return bool(await self._take(keys=[_key(user)], args=[lease, self._most, milliseconds]))

    def end(self, lease: str) -> None:
        """Lets go of it, if it is held; Redis is told in the background."""
        if (held := self._held.get(lease)) is not None:
            held[0].set()

    async def stop(self) -> None:
        """Ends all, and waits until Redis has been told."""
        held = list(self._held.values())
        for ended, _ in held:
            ended.set()
        await asyncio.gather(*(task for _, task in held))

    async def _hold(self, user: str, lease: str, ended: asyncio.Event) -> None:
        try:
            while not await _within(self._seconds / _RENEWALS, ended):
                with contextlib.suppress(RedisError, OSError):
                    await self.taken(user, lease)
            with contextlib.suppress(RedisError, OSError):
                await self._redis.zrem(_key(user), lease)
        finally:
            del self._held[lease]


def _key(user: str) -> str:
    return f"gateway:exports:{user}"


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
