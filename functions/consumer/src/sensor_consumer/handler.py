"""What becomes of one event."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from sensor_consumer.decoder import Decoder, Rules
from sensor_consumer.delivery import Delivery
from sensor_consumer.rollups import is_tick
from sensor_shared.contracts.events import Event
from sensor_shared.contracts.rules import Breach
from sensor_shared.telemetry import metrics


class ReadingStore(Protocol):
    """What the handler needs of `store.Store`."""

    async def add(self, delivery: Delivery) -> None:
        """Returns when the rows are stored."""


class Reporter(Protocol):
    """What the handler needs of `breaches.BreachReporter`."""

    async def report(self, breaches: Sequence[Breach]) -> None:
        """Returns when all are accepted."""


class Ticked(Protocol):
    """What the handler needs of `rollups.Rollups`."""

    async def tick(self) -> None:
        """Returns when the rollups are up to date."""


class Handler:
    """Stores an event's readings and rejects, then reports breaches of the alert rules.

    Args:
        store: where rows go.
        rules: tested against every reading.
        reporter: where breaches go.
        rollups: brought up to date when a PingSource asks for it.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(
        self,
        store: ReadingStore,
        rules: Rules,
        reporter: Reporter,
        *,
        rollups: Ticked | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ):
        self._store = store
        self._decode = Decoder(rules, now_ms)
        self._reporter = reporter
        self._rollups = rollups
        self._now_ms = now_ms

    async def __call__(self, event: Event) -> None:
        """Returns when nothing of the event can be lost any more.

        Breaches come last and are found again in a repetition, so one that could not be
        reported is reported when the event comes again, its rows already being there.

        Raises:
            Retry: when the event must be delivered again.
        """
        if self._rollups is not None and is_tick(event):
            await self._rollups.tick()
            return
        now_ms = self._now_ms()
        decoded, breaches = await self._decode(event)
        if decoded.unknown_fields:
            metrics.UNKNOWN_FIELDS.inc(decoded.unknown_fields)
        if decoded.batch.num_rows or decoded.rejects:
            await self._store.add(Delivery(event, decoded.batch, decoded.rejects, now_ms))
        if breaches:
            await self._reporter.report(breaches)
