"""Who decides: of all replicas one at a time about each device and rule.

Redis holds the leases, what is known of each device and rule, and which of them have an open or
pending alert. All of it can be rebuilt from ClickHouse: a lease that was never given back, and one
that Redis has lost, say that what is stored has to be read again.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast
from weakref import WeakValueDictionary

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_alerts.domain.alert import Record
from sensor_alerts.scripts import script
from sensor_shared.contracts.errors import Retry

LEASE_SECONDS: Final = 15.0
_WORK_SHARE: Final = 2 / 3
"""Of the lease is what a decision may take, so that nobody else decides meanwhile."""
_WAIT_SECONDS: Final = 5.0
_KEEP_MS: Final = 3_600_000
_COMPLETE_SECONDS: Final = 600
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.05


class Subject(NamedTuple):
    """What one open alert at most can be about: a device, and a rule or a single alert."""

    device_id: str
    episode: str


@dataclass(slots=True)
class Lease:
    """The right to decide about a subject.

    Attributes:
        known: whether `record` is what is stored; if not, it has to be looked up.
        record: the newest alert of the subject; whoever decides puts the new one here.
        lost: after the end: whether somebody else may have decided meanwhile.
    """

    subject: Subject
    known: bool
    record: Record | None
    lost: bool = False


_records: Final = msgspec.json.Decoder(Record)


class Leases:
    """Gives leases; all methods raise `RedisError` when Redis is away.

    Args:
        redis: shared by all replicas.
        prefix: of all keys.
        seconds: after which a lease whose holder died is given to the next one.
    """

    def __init__(self, redis: Redis, prefix: str = "alerts", *, seconds: float = LEASE_SECONDS):
        self._redis = redis
        self._seconds = seconds
        self._prefix = prefix
        self._take = redis.register_script(script("take"))
        self._give = redis.register_script(script("give"))
        self._release = redis.register_script(script("release"))
        self._locks: WeakValueDictionary[Subject, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def of(self, subject: Subject) -> AsyncIterator[Lease]:
        """Holds the lease of a subject; waits while somebody else has it.

        After an error of the caller's, whoever is next reads what is stored again. A caller that
        took too long, or died, leaves the lease to run out.

        Raises:
            Retry: when it was not to be had.
            TimeoutError: when the caller took too long.
        """
        lock = self._locks.setdefault(subject, asyncio.Lock())
        async with lock:
            owner = uuid.uuid4().hex
            lease = await self._wait(subject, owner)
            try:
                async with asyncio.timeout(self._seconds * _WORK_SHARE):
                    yield lease
            except TimeoutError:
                raise
            except Exception:
                with contextlib.suppress(RedisError):
                    await self._back(subject, owner, b"", "forget")
                raise
            record = b"" if lease.record is None else msgspec.json.encode(lease.record)
            with contextlib.suppress(RedisError):  # it runs out, and what is stored is read again
                lease.lost = not await self._back(subject, owner, record)

    async def _back(self, subject: Subject, owner: str, record: bytes, *how: str) -> int:
        given = self._give(keys=[self._key(subject)], args=[owner, record, _KEEP_MS, *how])
        return await cast("Awaitable[int]", given)

    async def _wait(self, subject: Subject, owner: str) -> Lease:
        pause, waited = _FIRST_PAUSE, 0.0
        while True:
            call = self._take(
                keys=[self._key(subject)], args=[owner, int(self._seconds * 1000), _KEEP_MS]
            )
            answer = await cast("Awaitable[list[Any]]", call)
            if answer[0] != b"busy":
                break
            if waited >= _WAIT_SECONDS:
                raise Retry("the alert is being decided on elsewhere", after=1)
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE)
        if answer[0] == b"known":
            with contextlib.suppress(msgspec.DecodeError):  # of another version of this service
                return Lease(subject, known=True, record=_records.decode(answer[1]))
        return Lease(subject, known=False, record=None)

    async def peek(self, subjects: Sequence[Subject]) -> list[Record | None]:
        """Returns what is known of subjects, without any lease; None: nothing, look it up."""
        if not subjects:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for subject in subjects:
                pipe.hget(self._key(subject), "record")
            answers: list[bytes | None] = await pipe.execute()
        return [None if answer is None else _decoded(answer) for answer in answers]

    async def watch(self, subjects: Iterable[Subject]) -> None:
        """Adds subjects to those that have an open or pending alert."""
        members = [msgspec.json.encode(subject) for subject in subjects]
        if members:
            await cast("Awaitable[Any]", self._redis.sadd(f"{self._prefix}:watched", *members))

    async def unwatch(self, subjects: Iterable[Subject]) -> None:
        """Takes subjects out of them."""
        members = [msgspec.json.encode(subject) for subject in subjects]
        if members:
            await cast("Awaitable[Any]", self._redis.srem(f"{self._prefix}:watched", *members))

    async def watched(self) -> list[Subject] | None:
        """Returns the subjects that may have an open or pending alert; None: rebuild them."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(f"{self._prefix}:watched:complete")
            pipe.smembers(f"{self._prefix}:watched")
            complete, members = await pipe.execute()
        if complete is None:
            return None
        return [msgspec.json.decode(member, type=Subject) for member in members]

    async def complete(self) -> None:
        """Says that the watched subjects are all that there are; now and then that is checked."""
        await self._redis.set(f"{self._prefix}:watched:complete", 1, ex=_COMPLETE_SECONDS)

    async def alone(self, work: str, seconds: float) -> str | None:
        """Takes the right to do some work alone; None: somebody else has it."""
        owner = uuid.uuid4().hex
        key = f"{self._prefix}:alone:{work}"
        return owner if await self._redis.set(key, owner, nx=True, px=int(seconds * 1000)) else None

    async def done(self, work: str, owner: str) -> None:
        """Gives it back."""
        call = self._release(keys=[f"{self._prefix}:alone:{work}"], args=[owner])
        await cast("Awaitable[int]", call)

    def _key(self, subject: Subject) -> str:
        return f"{self._prefix}:{{{subject.device_id}}}:{subject.episode}"


def _decoded(answer: bytes) -> Record | None:
    try:
        return _records.decode(answer)
    except msgspec.DecodeError:
        return None
