"""Which of the parts behind the gateway answer, looked at in the background."""

import asyncio
from collections.abc import Awaitable, Callable

from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry.logs import logger


class Parts:
    """Asks each part at intervals, so that a stranger's call of health costs nothing.

    Args:
        redis: of the latest values.
        database: of the facts.
        alert_service: returns when the alert service can work; raises OSError otherwise.
        keys_known: tells whether tokens can be checked.
        seconds: between two questions, and that an answer may take.
    """

    def __init__(
        self,
        redis: Redis,
        database: Database,
        alert_service: Callable[[], Awaitable[None]],
        keys_known: Callable[[], bool],
        *,
        seconds: float,
    ):
        self._redis = redis
        self._database = database
        self._alert_service = alert_service
        self._keys_known = keys_known
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._log = logger(part="health")
        self.redis = False
        self.clickhouse = False
        self.alerts = False

    @property
    def keys(self) -> bool:
        """True when tokens can be checked."""
        return self._keys_known()

    @property
    def serving(self) -> bool:
        """True when at least something can be answered."""
        return self.keys and (self.redis or self.clickhouse)

    @property
    def complete(self) -> bool:
        """True when nothing is away."""
        return not self.away

    @property
    def away(self) -> list[str]:
        """The names of those that do not answer."""
        parts = {
            "Redis": self.redis,
            "ClickHouse": self.clickhouse,
            "the alert service": self.alerts,
            "auth, for its keys": self.keys,
        }
        return [name for name, answers in parts.items() if not answers]

    @property
    def watched(self) -> bool:
        """False when asking has ended in a way nothing foresaw."""
        return self._task is None or not self._task.done()

    def start(self) -> None:
        """Begins to ask; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="parts")

    async def stop(self) -> None:
        """Ends asking."""
        await end([self._task])

    async def _run(self) -> None:
        while True:
            redis, clickhouse, alerts = await asyncio.gather(
                self._answers(self._ping),
                self._answers(lambda: self._database.rows("SELECT 1")),
                self._answers(self._alert_service),
            )
            if (redis, clickhouse, alerts) != (self.redis, self.clickhouse, self.alerts):
                self._log.warning(
                    "parts changed", redis=redis, clickhouse=clickhouse, alerts=alerts
                )
            self.redis, self.clickhouse, self.alerts = redis, clickhouse, alerts
            await asyncio.sleep(self._seconds)

    async def _ping(self) -> None:
        await self._redis.echo("?")  # `ping` is typed for both clients at once

    async def _answers(self, question: Callable[[], Awaitable[object]]) -> bool:
        try:
            async with asyncio.timeout(self._seconds):
                await question()
        except (RedisError, DatabaseAwayError, ClickHouseError, OSError):
            return False  # refused counts as away: before the migrations there is no database
        return True
