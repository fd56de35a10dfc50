"""What waits to be sent by one channel in this process: bounded, each thing in its time."""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count

import msgspec

from sensor_alerts.domain.notification import Notification


class Line:
    """Holds a bounded number of notifications until they are due, each once.

    What it does not take stays queued in the record, and is taken up from there.

    Args:
        limit: of what waits or is being sent.
        together: how many for the same target may be taken at once.
        now: the time, UTC.
    """

    def __init__(self, limit: int, together: int, now: Callable[[], datetime]):
        self._limit = limit
        self._together = together
        self._now = now
        self._waiting: dict[str, Notification] = {}
        self._order: list[tuple[datetime, int, str]] = []
        self._counter = count()
        self._taken: set[str] = set()
        self._waiters: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    @property
    def room(self) -> int:
        """How many more it takes."""
        return max(0, self._limit - len(self))

    def put(self, one: Notification) -> bool:
        """Takes a notification; False: it is full. What it has already, it does not take twice."""
        id_ = one.notification_id
        if id_ in self._waiting or id_ in self._taken:
            return True
        if not self.room:
            return False
        self._add(one)
        return True

    async def take(self) -> list[Notification]:
        """Waits until something is due, and returns it with what else its target may be told.

        With what is due goes what is new for the same target: it is told in the same message.
        """
        while (wait := self._seconds()) is None or wait > 0:
            await self._change(wait)
        return self._pop()

    def done(self, taken: Sequence[Notification], again: Sequence[Notification] = ()) -> None:
        """Says that what was taken is dealt with, but for some that are to be sent later."""
        self._taken -= {one.notification_id for one in taken}
        for one in again:
            self._add(one)
        self._wake()

    async def drain(self) -> None:
        """Makes what is new due at once, and waits until nothing is due."""
        for one in [one for one in self._waiting.values() if one.tries == 0]:
            self._add(msgspec.structs.replace(one, due_at=min(one.due_at, self._now())))
        while self._taken or ((wait := self._seconds()) is not None and wait <= 0):
            await self._change(None)

    async def _change(self, seconds: float | None) -> None:
        """Waits until something has changed, or so long."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _add(self, one: Notification) -> None:
        self._waiting[one.notification_id] = one
        heapq.heappush(self._order, (one.due_at, next(self._counter), one.notification_id))
        self._wake()

    def _seconds(self) -> float | None:
        """Until the first one is due; None: nothing waits."""
        while self._order and not self._is_current(self._order[0]):
            heapq.heappop(self._order)
        return (self._order[0][0] - self._now()).total_seconds() if self._order else None

    def _is_current(self, entry: tuple[datetime, int, str]) -> bool:
        one = self._waiting.get(entry[2])
        return one is not None and one.due_at == entry[0]

    def _pop(self) -> list[Notification]:
        first = self._waiting[self._order[0][2]]
        group = [first]
        if self._together > 1:
            now = self._now()
            group += [
                one
                for one in self._waiting.values()
                if one.target == first.target
                and one is not first
                and (one.due_at <= now or one.tries == 0)
            ][: self._together - 1]
        for one in group:
            del self._waiting[one.notification_id]
            self._taken.add(one.notification_id)
        self._wake()
        return group
