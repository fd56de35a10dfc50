"""The newest changes of alerts in Redis: alerts appends them, and whoever pushes them reads.

They are a Redis stream that keeps its last entries only. It is no record: what it has lost is in
ClickHouse, and a reader learns that something is missing (`LostError`, or an entry without a
change). Ids rise with each entry and mean the same to every process.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from sensor_shared.contracts.alert_changes import AlertChange, data_of

_CHANGE: Final = b"change"
_GAP: Final = b"gap"
_ID: Final = re.compile("(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")


class EntryId(NamedTuple):
    """Place of an entry; later ones are greater."""

    ms: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"


BEGIN: Final = EntryId(0, 0)
"""Before every entry."""


class Entry(NamedTuple):
    """One entry.

    Attributes:
        id: its place.
        data: of `ALERT_CHANGED_V1`; None: changes that were to stand here never came.
    """

    id: EntryId
    data: bytes | None


class LostError(Exception):
    """The stream does not hold any more, or never held, what it was asked to go on from."""


class AlertTail:
    """Appends to the stream and reads it; all methods raise `RedisError` when Redis is away.

    Args:
        redis: the client. For `wait` it needs one whose commands may take that long.
        prefix: of the key, as of the other keys of alerts.
    """

    def __init__(self, redis: Redis, prefix: str = "alerts"):
        self._redis = redis
        self._key = f"{prefix}:live"

    async def append(
        self, changes: Sequence[AlertChange], *, keep: int, after_gap: bool = False
    ) -> EntryId:
        """Appends all of them in their order, or none; returns the place of the last.

        Args:
            changes: at least one, unless after a gap; one that is there already comes again.
            keep: entries that stay at least; some more may.
            after_gap: whether others that belong before them never came.
        """
        entries = [{_CHANGE: data_of(change)} for change in changes]
        async with self._redis.pipeline() as pipe:
            for fields in [{_GAP: b""}, *entries] if after_gap else entries:
                pipe.xadd(self._key, fields, maxlen=keep)  # type: ignore[arg-type]
            places: list[bytes] = await pipe.execute()
        return _id(places[-1])

    async def forgot(self, place: EntryId) -> bool:
        """Tells whether an entry is gone though older ones are not, as after a crash of Redis."""
        async with self._redis.pipeline() as pipe:
            pipe.xrange(self._key, min=str(place), max=str(place))
            pipe.xrange(self._key, count=1)
            own, first = await pipe.execute()
        return not own and bool(first) and _id(first[0][0]) < place

    async def newest(self) -> EntryId:
        """Returns the place of the last entry, `BEGIN` when there is none."""
        found: Any = await self._redis.xrevrange(self._key, count=1)
        return _id(found[0][0]) if found else BEGIN

    async def after(self, place: EntryId, count: int) -> list[Entry]:
        """Returns the next entries, `count` at most.

        Raises:
            LostError: when the entry at that place is not held any more, so that others after it
                may be missing too.
        """
        # From the place on, so that its own entry shows that none after it is missing.
        found: Any = await self._redis.xrange(self._key, min=str(place), count=count + 1)
        entries = [Entry(_id(id_), fields.get(_CHANGE)) for id_, fields in found]
        if place == BEGIN:
            if entries and not await self._whole():
                raise LostError("the first changes are not held")
            return entries[:count]
        if not entries or entries[0].id != place:
            raise LostError(f"{place} is not held")
        return entries[1:]

    async def wait(self, place: EntryId, milliseconds: int) -> None:
        """Returns when there is an entry after that place, at the latest after so long."""
        await self._redis.xread({self._key: str(place)}, count=1, block=milliseconds)

    async def _whole(self) -> bool:
        about: Any = await self._redis.xinfo_stream(self._key)
        return bool(about["entries-added"] == about["length"])


def entry_id(text: str) -> EntryId | None:
    """Reads the id of an entry as `str` wrote it; None when it is none."""
    if not _ID.fullmatch(text):
        return None
    found = _id(text.encode())
    return found if found > BEGIN and max(found) < 2**64 else None


def _id(text: bytes) -> EntryId:
    ms, _, sequence = text.partition(b"-")
    return EntryId(int(ms), int(sequence))
