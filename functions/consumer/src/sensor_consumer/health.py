"""Whether the consumer can do its work: ClickHouse has its tables, and answered just now.

Redis is asked too. Without it readings are still stored, so that is a trouble, not unreadiness.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError

from sensor_consumer.ports import Queries
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.telemetry.logs import logger

PROBE: Final = "SELECT 1 FROM readings, rejects, devices, rollup_marks LIMIT 0"
INTERVAL_SECONDS: Final = 1.0
FRESH_SECONDS: Final = 5.0


class Ping(Protocol):
    """What this needs of a Redis client."""

    def ping(self) -> Awaitable[Any]:
        """Returns when Redis has answered."""


class Health:
    """Asks ClickHouse and Redis again and again; an answer counts for a few seconds."""

    def __init__(
        self, database: Queries, redis: Ping, *, clock: Callable[[], float] = time.monotonic
    ):
        self._database = database
        self._redis = redis
        self._clock = clock
        self._database_answered = float("-inf")
        self._redis_answered = float("-inf")
        self._log = logger(part="health")

    @property
    def ready(self) -> bool:
        """True while ClickHouse's last answer is fresh."""
        return self._fresh(self._database_answered)

    @property
    def trouble(self) -> str | None:
        """What is wrong although readings are stored; None when all is well."""
        if self._fresh(self._redis_answered):
            return None
        return "Redis does not answer: latest values stand still"

    async def watch(self) -> None:
        """Runs until it is cancelled."""
        await asyncio.gather(self._watch_database(), self._watch_redis())

    async def _watch_database(self) -> None:
        while True:
            try:
                async with asyncio.timeout(FRESH_SECONDS):
                    await self._database.rows(PROBE)
            except (DatabaseAwayError, ClickHouseError, TimeoutError) as error:
                self._log.warning("not ready", error=str(error)[:300] or type(error).__name__)
            else:
                self._database_answered = self._clock()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _watch_redis(self) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(FRESH_SECONDS):
                    await self._redis.ping()
                self._redis_answered = self._clock()
            await asyncio.sleep(INTERVAL_SECONDS)

    def _fresh(self, answered: float) -> bool:
        return self._clock() - answered < FRESH_SECONDS
