"""Failed logins: who has too many of them waits.

Three counts, so that neither guessing from many addresses nor guessing many names helps, and
nobody can lock somebody else out:

- user and address together: locked after some failures, for a while.
- one user from whatever addresses, and one address with whatever users: slowed down. Who has
  logged in from an address before is not slowed down there by what strangers do elsewhere.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth.domain import BusyError, LockedError
from sensor_auth.settings import PolicySettings
from sensor_auth.slowdown import Slowdown
from sensor_auth.tries import OTHERS_FIRST, Outcome, Tries
from sensor_shared.adapters.database import DatabaseAwayError

_DAY_SECONDS = 24 * 60 * 60
_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.05


class Attempt:
    """One try that may be made now."""

    def __init__(self) -> None:
        self.right = False
        """To be set when the password was right; a try that ends without it has failed."""


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
        self._clock = clock
        self._known_seconds = policy.known_address_days * _DAY_SECONDS
        self._tries = Tries(
            redis, limit=policy.max_failures, seconds=policy.failure_seconds, clock=clock
        )
        self._slow = Slowdown(
            redis, free=policy.slow_failures, seconds=policy.slow_seconds, clock=clock
        )

    @asynccontextmanager
    async def attempt(self, username: str, address: str) -> AsyncIterator[Attempt]:
        """Surrounds one try, which counts from its beginning.

        A part that is away, or too many at a time, is no failure.

        Raises:
            LockedError: when there were too many failures.
        """
        key = f"auth:attempts:{address}:{username}"
        await self._turn(key)
        outcome = Outcome.WITHDRAWN
        taken: list[str] = []
        try:
            taken = await self._slowed(username, address)
            outcome = Outcome.WRONG
            attempt = Attempt()
            yield attempt
            if attempt.right:
                outcome = Outcome.RIGHT
        except (BusyError, DatabaseAwayError):
            outcome = Outcome.WITHDRAWN
            await self._give_back(taken)
            raise
        finally:
            await self._tries.finish(key, outcome)
        if attempt.right:
            await self._give_back(taken)
            await self._remember(username, address)

    async def _turn(self, key: str) -> None:
        patience = self._clock() + _PATIENCE_SECONDS
        while (left := await self._tries.take(key)) == OTHERS_FIRST:
            if self._clock() >= patience:
                raise LockedError(1, "others first")
            await asyncio.sleep(_PAUSE_SECONDS)
        if left:
            raise LockedError(math.ceil(left / 1000))

    async def _slowed(self, username: str, address: str) -> list[str]:
        """Takes what a try takes and returns the keys; raises LockedError when it must wait."""
        by_address, by_user = f"auth:slow:address:{address}", f"auth:slow:user:{username}"
        if wait := await self._slow.take(by_address):
            raise LockedError(math.ceil(wait), "address")
        if await self._known(username, address):
            return [by_address]
        if wait := await self._slow.take(by_user):
            raise LockedError(math.ceil(wait), "user")
        return [by_address, by_user]

    async def _give_back(self, taken: list[str]) -> None:
        for key in taken:
            await self._slow.give_back(key)

    async def _known(self, username: str, address: str) -> bool:
        try:
            return bool(await self._redis.exists(_known_key(username, address)))
        except (RedisError, OSError):
            return False

    async def _remember(self, username: str, address: str) -> None:
        try:
            await self._redis.set(_known_key(username, address), b"", ex=self._known_seconds)
        except (RedisError, OSError):
            return


def _known_key(username: str, address: str) -> str:
    return f"auth:known:{address}:{username}"
