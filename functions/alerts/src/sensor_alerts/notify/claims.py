"""Which replica sends a notification, and how many go in a minute: kept in Redis for all of them.

A claim is a lease: it ends by itself when its replica does. Once sent, it stays a day, so that
who read the record before it said so does not send again.
"""

from collections.abc import Awaitable, Sequence
from enum import Enum
from typing import Any, Final, cast

from redis.asyncio import Redis

from sensor_alerts.domain.limits import MINUTE_MS
from sensor_alerts.domain.notification import ChannelName
from sensor_alerts.scripts import script

_SENT: Final = b"sent"
_SENT_SECONDS: Final = 86_400


class Claim(Enum):
    """What became of the wish to send something."""

    OURS = "ours"
    OTHERS = "others"
    """Another replica is at it."""
    SENT = "sent"


class Claims:
    """The claims of one replica; all methods raise `RedisError` when Redis is away.

    Args:
        redis: shared by all replicas.
        owner: names this replica, unique.
        lease: seconds that a claim holds; longer than one try can take.
        prefix: of all keys.
    """

    def __init__(self, redis: Redis, *, owner: str, lease: float, prefix: str = "alerts"):
        self._redis = redis
        self._owner = owner.encode()
        self._lease_ms = int(lease * 1000)
        self._prefix = f"{prefix}:notify"
        self._window = redis.register_script(script("window"))
        self._release = redis.register_script(script("unclaim"))

    async def take(self, ids: Sequence[str]) -> list[Claim]:
        """Tries to claim notifications; returns what became of each, in their order."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for id_ in ids:
                pipeline.set(self._key(id_), self._owner, nx=True, get=True, px=self._lease_ms)
            before = await pipeline.execute()
        return [self._claim(one) for one in before]

    async def release(self, ids: Sequence[str]) -> None:
        """Gives claims back, those that are ours still."""
        for id_ in ids:
            await cast("Awaitable[Any]", self._release(keys=[self._key(id_)], args=[self._owner]))

    async def sent(self, ids: Sequence[str]) -> None:
        """Notes that they are sent, whoever asks."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for id_ in ids:
                pipeline.set(self._key(id_), _SENT, ex=_SENT_SECONDS)
            await pipeline.execute()

    async def room(self, channel: ChannelName, name: str, per_minute: int, now_ms: int) -> bool:
        """Counts one more message of a channel; False: as many have gone as may in a minute.

        Args:
            channel: which has a limit of its own.
            name: of the message, unique; the same one twice counts once.
            per_minute: messages over all replicas.
            now_ms: epoch milliseconds.
        """
        window = self._window(
            keys=[f"{self._prefix}:{channel}:minute"], args=[now_ms, MINUTE_MS, per_minute, name]
        )
        return bool(await cast("Awaitable[int]", window))

    async def turn(self, name: str, seconds: float) -> bool:
        """Takes the turn at something that one replica does for all, once in some seconds."""
        key = f"{self._prefix}:turn:{name}"
        return bool(await self._redis.set(key, self._owner, nx=True, px=int(seconds * 1000)))

    def _claim(self, before: bytes | None) -> Claim:
        if before is None or before == self._owner:
            return Claim.OURS
        return Claim.SENT if before == _SENT else Claim.OTHERS

    def _key(self, id_: str) -> str:
        return f"{self._prefix}:{id_}"
