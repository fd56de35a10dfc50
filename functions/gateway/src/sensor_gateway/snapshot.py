"""A value that many requests share: loaded by one task, replaced when it has grown old."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sensor_shared.adapters.database import DatabaseAwayError

T = TypeVar("T")
_RETRY_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 1.0
"""From the begin of loading; then a value that is too old is given, as ClickHouse seems to hang."""
_OVERDUE: Final = 3.0
"""Times the interval after which a request waits for the new value."""


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """A value, and how long ago it was loaded.

    `stale` is set when it is older than it should be because ClickHouse is away.
    """

    value: T
    age_seconds: int
    stale: bool


class Snapshot(Generic[T]):
    """Loads a value when somebody asks for it; nobody asks twice at the same time.

    A value that has grown old is given once more while the next one is loaded; one that is much
    too old only when there is no other because ClickHouse is away or does not answer soon.

    Args:
        load: asks ClickHouse or Redis.
        every: seconds after which the next request has it loaded anew.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[T]],
        *,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._load = load
        self._every = every
        self._clock = clock
        self._held: tuple[T, float] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._began = float("-inf")
        self._failed_at = float("-inf")

    async def get(self) -> Taken[T]:
        """Returns the value.

        Raises:
            DatabaseAwayError: when it was never loaded, and cannot be now.
        """
        age = self._age()
        if self._held is not None and age < self._every:
            return self._taken(self._held[0])
        if self._loading is None and self._clock() - self._failed_at >= _RETRY_SECONDS:
            self._began = self._clock()
            self._loading = asyncio.create_task(self._reload(), name="snapshot")
            self._loading.add_done_callback(self._loaded)
        if self._loading is not None and age >= _OVERDUE * self._every:
            try:
                async with asyncio.timeout(self._patience()):
                    await asyncio.shield(self._loading)
            except (DatabaseAwayError, TimeoutError):
                if self._held is None:
                    raise
        if self._held is None:
            raise DatabaseAwayError("ClickHouse did not answer just now")
        return self._taken(self._held[0])

    async def stop(self) -> None:
        """Ends loading."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])

    async def _reload(self) -> None:
        began = self._began
        try:
            value = await self._load()
        except DatabaseAwayError:
            self._failed_at = self._clock()
            raise
        self._held = (value, began)

    def _loaded(self, task: asyncio.Task[None]) -> None:
        self._loading = None
        if not task.cancelled():
            task.exception()  # nobody may have waited for it

    def _patience(self) -> float | None:
        if self._held is None:
            return None
        return max(0.0, self._began + _PATIENCE_SECONDS - self._clock())

    def _age(self) -> float:
        return float("inf") if self._held is None else self._clock() - self._held[1]

    def _taken(self, value: T) -> Taken[T]:
        age = self._age()
        return Taken(value, int(age), age >= _OVERDUE * self._every)
