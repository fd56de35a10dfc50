"""What Redis adds, at its best effort: it never fails an event and never holds it up for long."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa
from redis.exceptions import RedisError

from sensor_consumer.circuit import Circuit
from sensor_consumer.seen import Past, SharedKeys
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

Result = TypeVar("Result")


class Cache:
    """Latest readings and remembered events, behind one timeout and one circuit.

    Args:
        latest: where the latest readings go.
        keys: where the past of events is.
        circuit: keeps a Redis that is away from being asked for each group.
        timeout: seconds for one round.
    """

    def __init__(
        self, latest: LatestReadings, keys: SharedKeys, circuit: Circuit, *, timeout: float
    ):
        self._latest = latest
        self._keys = keys
        self._circuit = circuit
        self._timeout = timeout
        self._log = logger(part="redis")

    async def begin(self, events: Sequence[tuple[str, float]]) -> Mapping[str, Past]:
        """Notes that events are going to be stored; returns their past, nothing if unknown.

        Args:
            events: the key of each, and when it was sent, epoch seconds.
        """
        past = await self._try(lambda: self._keys.begin(events))
        return {key: one for (key, _), one in zip(events, past, strict=True)} if past else {}

    async def show(self, batch: pa.RecordBatch) -> bool:
        """Makes readings visible; tells whether it worked."""
        return await self._try(lambda: self._show(batch)) is True

    async def remember(self, keys: Sequence[str]) -> None:
        """Remembers events as stored: they are not looked at again."""
        if keys:
            await self._try(lambda: self._keys.stored(keys))

    async def _show(self, batch: pa.RecordBatch) -> bool:
        await self._latest.update(batch)
        return True

    async def _try(self, work: Callable[[], Awaitable[Result]]) -> Result | None:
        if self._circuit.open:
            metrics.LATEST_FAILED.inc()
            return None
        try:
            async with asyncio.timeout(self._timeout):
                return await work()
        except (RedisError, OSError, TimeoutError) as error:
            metrics.LATEST_FAILED.inc()
            self._circuit.failed()
            self._log.warning("redis away", error=str(error) or type(error).__name__)
            return None
