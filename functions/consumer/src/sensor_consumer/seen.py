"""What became of an event before: remembered in Redis for all replicas, and in this process."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_LONGEST_INSERT_SECONDS: Final = 300
"""Whoever began to store an event before memory began has ended by then: three attempts of a
look-up and an insert take half of it."""


class Past(IntEnum):
    """What is known of an event when it is about to be stored."""

    NEW = 0
    BEGUN = 1
    """Somebody began to store it, and nobody has said how that ended."""
    STORED = 2
    UNKNOWN = 3
    """It was sent before the time that is remembered: whoever stored it then is forgotten, and
    nobody is storing it at this moment."""


class RecentKeys:
    """The last keys that this process was told, bounded, the oldest forgotten first."""

    def __init__(self, limit: int):
        self._limit = limit
        self._keys: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[str]) -> None:
        """Remembers keys."""
        for key in keys:
            self._keys[key] = None
            self._keys.move_to_end(key)
        while len(self._keys) > self._limit:
            self._keys.popitem(last=False)

    def discard(self, keys: Iterable[str]) -> None:
        """Forgets keys."""
        for key in keys:
            self._keys.pop(key, None)


# KEYS: the set that is written to, the one before, the events begun, when remembering began. ARGV:
# the time and the oldest begin that counts, epoch seconds, then the events. One step: of two
# replicas that begin the same event, the second one knows it.
#
# A Redis that has been started anew does not know the script: its memory begins anew with it, since
# the last that it noted may not have reached its disk.
_BEGIN: Final = """
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[2])
redis.call('SET', KEYS[4], ARGV[1], 'NX')
local past = {tonumber(redis.call('GET', KEYS[4]))}
for i = 3, #ARGV do
  if redis.call('SISMEMBER', KEYS[1], ARGV[i]) + redis.call('SISMEMBER', KEYS[2], ARGV[i]) > 0 then
    past[#past + 1] = 2
  else
    past[#past + 1] = 1 - redis.call('ZADD', KEYS[3], 'NX', ARGV[1], ARGV[i])
  end
end
return past
"""
_BEGIN_SHA1: Final = hashlib.sha1(_BEGIN.encode(), usedforsecurity=False).hexdigest()


class SharedKeys:
    """What any replica has begun and stored.

    Stored events are in two sets of Redis that take turns: a key is remembered for at least
    `seconds`, at most twice that. Events begun are in a sorted set for as long, until they
    are stored. What was sent before that time, or before this Redis was started, may have been
    stored all the same: a whole system may have been away with its last events unacknowledged.

    Args:
        redis: the client; its errors and timeouts are passed on.
        seconds: how long a set is written to.
        prefix: of the sets' names; the braces keep them together in a cluster.
        clock: epoch seconds.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        seconds: int,
        prefix: str = "{consumer}",
        clock: Callable[[], float] = time.time,
    ):
        self._redis = redis
        self._seconds = seconds
        self._prefix = prefix
        self._clock = clock

    async def begin(self, events: Sequence[tuple[str, float]]) -> list[Past]:
        """Notes that these events are going to be stored; returns the past of each.

        Args:
            events: the key of each, and when it was sent, epoch seconds.

        Raises:
            RedisError: when Redis does not answer.
        """
        now = int(self._clock())
        turn = now // self._seconds
        names = (self._stored(turn), self._stored(turn - 1), self._begun, self._since)
        members = [_member(key) for key, _ in events]
        since, *past = await self._run(names, [now, now - 2 * self._seconds, *members])
        before = Past.UNKNOWN if now - since > _LONGEST_INSERT_SECONDS else Past.BEGUN

        def known(answer: int, sent: float) -> Past:
            if answer != Past.NEW:
                return Past(answer)
            # Times are noted to the second.
            if sent < since + 1:
                return before
            return Past.UNKNOWN if sent < now - self._seconds + 1 else Past.NEW

        return [known(answer, sent) for answer, (_, sent) in zip(past, events, strict=True)]

    async def _run(self, names: Sequence[str], values: Sequence[int | bytes]) -> list[int]:
        # By hand, because redis-py would load the script again without a word.
        arguments: Any = (_BEGIN_SHA1, len(names), *names, *values)
        try:
            answer: list[int] = await self._redis.evalsha(*arguments)
        except NoScriptError:
            await self._redis.set(self._since, values[0])
            await self._redis.script_load(_BEGIN)
            answer = await self._redis.evalsha(*arguments)
        return answer

    async def stored(self, keys: Sequence[str]) -> None:
        """Remembers events as stored.

        Raises:
            RedisError: when Redis does not answer.
        """
        members = [_member(key) for key in keys]
        name = self._stored(int(self._clock()) // self._seconds)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(name, *members)
            pipe.expire(name, 2 * self._seconds)
            pipe.zrem(self._begun, *members)
            await pipe.execute()

    def _stored(self, turn: int) -> str:
        return f"{self._prefix}:stored:{turn}"

    @property
    def _begun(self) -> str:
        return f"{self._prefix}:begun"

    @property
    def _since(self) -> str:
        return f"{self._prefix}:since"


def _member(key: str) -> bytes:
    return bytes.fromhex(key)
