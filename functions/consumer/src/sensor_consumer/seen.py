"""Which events are stored already: remembered in Redis for all replicas, and in this process."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from redis.asyncio import Redis


class RecentKeys:
    """The last keys that this process has stored, bounded, the oldest forgotten first."""

    def __init__(self, limit: int):
        self._limit = limit
        self._keys: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[str]) -> None:
        """Remembers keys."""
        for key in keys:
            self._keys[key] = None
            self._keys.move_to_end(key)
        while len(self._keys) > self._limit:
            self._keys.popitem(last=False)


class SharedKeys:
    """The keys that any replica has stored, in two sets of Redis that take turns.

    A key is remembered for at least `seconds`, at most twice that.

    Args:
        redis: the client; its errors and timeouts are passed on.
        seconds: how long a set is written to.
        prefix: of the sets' names.
        clock: epoch seconds.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        seconds: int,
        prefix: str = "consumer:stored",
        clock: Callable[[], float] = time.time,
    ):
        self._redis = redis
        self._seconds = seconds
        self._prefix = prefix
        self._clock = clock

    async def known(self, keys: Collection[str]) -> set[str]:
        """Returns those of the keys that were stored.

        Raises:
            RedisError: when Redis does not answer.
        """
        members = [bytes.fromhex(key) for key in keys]
        turn = self._turn()
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.smismember(self._name(turn), members)
            pipe.smismember(self._name(turn - 1), members)
            now, before = await pipe.execute()
        return {key for key, a, b in zip(keys, now, before, strict=True) if a or b}

    async def add(self, keys: Collection[str]) -> None:
        """Remembers keys.

        Raises:
            RedisError: when Redis did not take them.
        """
        name = self._name(self._turn())
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(name, *(bytes.fromhex(key) for key in keys))
            pipe.expire(name, 2 * self._seconds)
            await pipe.execute()

    def _turn(self) -> int:
        return int(self._clock()) // self._seconds

    def _name(self, turn: int) -> str:
        return f"{self._prefix}:{turn}"
