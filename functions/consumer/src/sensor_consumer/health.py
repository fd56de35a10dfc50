"""Whether the consumer can do its work: ClickHouse has its tables, and answered just now."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.telemetry.logs import logger

PROBE: Final = "SELECT 1 FROM readings, rejects, devices LIMIT 0"
INTERVAL_SECONDS: Final = 1.0
FRESH_SECONDS: Final = 5.0


class Queries(Protocol):
    """What this needs of `adapters.database.Database`."""

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""


class Health:
    """Asks ClickHouse again and again; an answer counts for a few seconds."""

    def __init__(self, database: Queries, *, clock: Callable[[], float] = time.monotonic):
        self._database = database
        self._clock = clock
        self._answered = float("-inf")
        self._log = logger(part="health")

    @property
    def ready(self) -> bool:
        """True while the last answer is fresh."""
        return self._clock() - self._answered < FRESH_SECONDS

    async def watch(self) -> None:
        """Runs until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout(FRESH_SECONDS):
                    await self._database.rows(PROBE)
            except (DatabaseAwayError, ClickHouseError, TimeoutError) as error:
                self._log.warning("not ready", error=str(error)[:300] or type(error).__name__)
            else:
                self._answered = self._clock()
            await asyncio.sleep(INTERVAL_SECONDS)
