"""Decodes the events of one step together, just before it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from sensor_shared.contracts.events import Event
from sensor_shared.contracts.readings import Decoded, decode, decode_all

_PORTION_BYTES: Final = 1024 * 1024
"""Of events that are decoded in one go, which nothing else in the process can interrupt."""


class Intake:
    """Hands the valid readings of many events on, all in one go.

    Events come one at a time, and the little that each of them needs costs twice as much then as
    when it is done for all at once: other processes have had the caches in between.

    Args:
        take: takes batches of valid readings.
        now_ms: the clock, epoch milliseconds.
    """

    def __init__(
        self, take: Callable[[Sequence[pa.RecordBatch]], Awaitable[None]], now_ms: Callable[[], int]
    ):
        self._take = take
        self._now_ms = now_ms

    async def __call__(self, events: Sequence[Event]) -> list[Exception | None]:
        """Returns when all readings are taken: for each event what went wrong with it alone.

        Readings that break a rule are left out: the consumer keeps them with their reason.

        Raises:
            Retry: as `take`, for all of them.
        """
        found: list[pa.RecordBatch] = []
        results: list[Exception | None] = []
        for portion in _portions(events):
            for one in self._decoded(portion):
                results.append(one if isinstance(one, Exception) else None)
                if isinstance(one, Decoded) and one.batch.num_rows:
                    found.append(one.batch)
            await asyncio.sleep(0)
        if found:
            await self._take(found)
        return results

    def _decoded(self, events: Sequence[Event]) -> Sequence[Decoded | Exception]:
        now_ms = self._now_ms()
        try:
            return decode_all(events, now_ms)
        except Exception:  # noqa: BLE001  (nobody foresaw it; it is the matter of one of them)
            return [_alone(event, now_ms) for event in events]


def _alone(event: Event, now_ms: int) -> Decoded | Exception:
    try:
        return decode(event, now_ms)
    except Exception as error:  # noqa: BLE001  (its caller answers it)
        return error


def _portions(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    portion: list[Event] = []
    size = 0
    for event in events:
        if portion and size + len(event.data) > _PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(event)
        size += len(event.data)
    yield portion
