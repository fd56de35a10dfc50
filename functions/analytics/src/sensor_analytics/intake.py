"""Decodes the events of one step together, just before it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pyarrow as pa

from sensor_shared.contracts.events import Event
from sensor_shared.contracts.readings import decode, decode_all


class Intake:
    """Hands the valid readings of many events on, all in one go.

    Events come one at a time, and the little that each of them needs costs twice as much then as
    when it is done for all at once: other processes have had the caches in between.

    Args:
        take: takes batches of valid readings.
        now_ms: the clock, epoch milliseconds.
    """

    def __init__(
        self, take: Callable[[Sequence[pa.RecordBatch]], Awaitable[Any]], now_ms: Callable[[], int]
    ):
        self._take = take
        self._now_ms = now_ms

    async def __call__(self, events: Sequence[Event]) -> list[Exception | None]:
        """Returns when all readings are taken: for each event what went wrong with it alone.

        Readings that break a rule are left out: the consumer keeps them with their reason.

        Raises:
            Retry: as `take`, for all of them.
        """
        now_ms = self._now_ms()
        results: list[Exception | None] = [None] * len(events)
        try:
            batches = [one.batch for one in decode_all(events, now_ms)]
        except Exception:  # noqa: BLE001  (nobody foresaw it; it is the matter of one of them)
            batches = []
            for at, event in enumerate(events):
                try:
                    batches.append(decode(event, now_ms).batch)
                except Exception as error:  # noqa: BLE001  (its caller answers it)
                    results[at] = error
        if found := [batch for batch in batches if batch.num_rows]:
            await self._take(found)
        return results
