"""Where the rollups do not say yet what the readings say.

The consumer makes rollups anew in runs: docs/decisions/0007-rollups-are-made-anew.md. A run that
began at B has seen all that was stored before B. What was stored since is either marked, because
its minute had ended for long enough, or its minute lies after B less `UNMARKED_SECONDS`. So the
minutes with an open mark, and all after that, are read from the raw rows instead.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sensor_gateway.rollups.stretches import Stretch, joined, within
from sensor_shared.contracts.rollups import MINUTE, UNMARKED_SECONDS, WHOLE_SECONDS

_REMEMBERED: Final = 1_000
_MOST_STRETCHES: Final = 50
"""That one query reads raw rows of: each adds a condition to it, and work."""
_FOREVER: Final = 1 << 32

# Minutes that follow each other are one stretch: a first run marks all there is.
_STATE: Final = """
SELECT toUnixTimestamp(now()),
       (SELECT toUnixTimestamp(max(begun_at)) FROM rollup_runs),
       (SELECT groupArray((start, end)) FROM (
            SELECT min(at) AS start, max(at) + 60 AS end FROM (
                SELECT at, at - 60 * row_number() OVER (ORDER BY at) AS stretch FROM (
                    SELECT DISTINCT toInt64(toUnixTimestamp(minute)) AS at
                    FROM rollup_marks FINAL WHERE done = 0))
            GROUP BY stretch ORDER BY start DESC LIMIT {most:UInt32}))
"""


class Queries(Protocol):
    """What this needs of `adapters.database.Database`."""

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Runs a query and returns its rows."""


@dataclass(frozen=True, slots=True)
class Uncovered:
    """What is to be read from raw rows, in whole minutes.

    Attributes:
        stretches: sorted.
        behind: minutes with late readings, the oldest, that are left to the rollups all the same,
            because there are too many of them: what came late is not in the answer yet.
    """

    stretches: list[Stretch]
    behind: int


class Coverage:
    """Knows how far the rollups are; asked once for all that want to know at the same time.

    Args:
        database: of the rollups.
        seconds: for which an answer holds. A run that finishes meanwhile changes nothing; a late
            reading that is marked meanwhile shows that much later.
        clock: seconds that only grow.
    """

    def __init__(
        self, database: Queries, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ):
        self._database = database
        self._seconds = seconds
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._open: list[Stretch] = []

    async def uncovered(self, span: Stretch) -> Uncovered:
        """Returns what of a span, epoch seconds, the rollups do not cover.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        stretches = within(await self._current(), [span])
        kept = stretches[-_MOST_STRETCHES:]
        behind = sum(end - start for start, end in stretches[:-_MOST_STRETCHES]) // MINUTE
        return Uncovered(kept, behind)

    async def _current(self) -> list[Stretch]:
        async with self._asking:
            asked_at = self._clock()
            if asked_at - self._asked_at >= self._seconds:
                self._open = await self._ask()
                self._asked_at = asked_at
            return self._open

    async def _ask(self) -> list[Stretch]:
        ((now, begun, marked),) = await self._database.rows(_STATE, most=_REMEMBERED)
        whole = now - WHOLE_SECONDS
        fresh = max(begun - UNMARKED_SECONDS, whole)
        late = within(reversed(marked), [(whole, _FOREVER)])
        return joined([*late, (fresh, _FOREVER)], MINUTE)
