"""What goes on beside: nothing queued is forgotten, and what was held back is told once it may."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

import msgspec
from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError

from sensor_alerts.domain.notification import ChannelName, Notification, State
from sensor_alerts.notify.claims import Claims
from sensor_alerts.notify.decision import Decision
from sensor_alerts.notify.ledger import Ledger
from sensor_alerts.notify.notifier import Notifier
from sensor_alerts.notify.sender import Sender, version_at
from sensor_alerts.notify.settings import NotifySettings
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

_LIMIT: Final = 1_000
_GRACE: Final = timedelta(seconds=2)
"""What is due belongs to whoever queued it, for a moment."""


class Upkeep:
    """Looks through the record on a clock, one replica for all; with Redis away nobody does.

    Args:
        settings: how often, and how long something held back is still news.
        notifier: takes what is queued.
        decision: whether something is held back still.
        ledger: the record.
        claims: whose turn it is.
        senders: whose room limits what is taken up.
        now: the time, UTC.
    """

    def __init__(
        self,
        settings: NotifySettings,
        notifier: Notifier,
        decision: Decision,
        ledger: Ledger,
        claims: Claims,
        *,
        senders: Mapping[ChannelName, Sender],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._settings = settings
        self._notifier = notifier
        self._decision = decision
        self._ledger = ledger
        self._claims = claims
        self._senders = senders
        self._now = now
        self._task: asyncio.Task[None] | None = None
        self._log = logger(part="notify")

    def start(self) -> None:
        """Begins; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="notify-upkeep")

    async def stop(self) -> None:
        """Ends."""
        if self._task is not None:
            await end([self._task])

    async def look(self) -> None:
        """Looks once, if it is this replica's turn.

        Raises:
            DatabaseAwayError, RedisError: when ClickHouse or Redis cannot answer now.
        """
        # A little less than the pause between two looks, so that a single replica misses none.
        if not await self._claims.turn("upkeep", self._settings.take_up * 0.9):
            return
        await self._release()
        await self._take_up()

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (DatabaseAwayError, RedisError) as error:
                self._log.warning("no look into the record", error=str(error))
            except ClickHouseError:
                self._log.exception("record refuses")
            await asyncio.sleep(self._settings.take_up)

    async def _take_up(self) -> None:
        """Takes what is queued and late: its replica is gone, or had no room."""
        now = self._now()
        for channel, sender in self._senders.items():
            if sender.room:
                self._notifier.take_up(
                    await self._ledger.due(channel, now - _GRACE, min(sender.room, _LIMIT))
                )
        waiting = await self._ledger.waiting(now)
        for channel in ChannelName:
            alert_metrics.NOTIFY_QUEUED.labels(channel).set(waiting.get(channel, 0))

    async def _release(self) -> None:
        """Queues what was held back, and is still open, once nothing stands against it."""
        now = self._now()
        since = now - timedelta(seconds=self._settings.hold)
        held = await self._ledger.held_back(since, self._decision.standing(now), _LIMIT)
        ordered = sorted(held, key=lambda one: one.change.change_id)
        for _, group in groupby(ordered, key=lambda one: one.change.change_id):
            await self._release_change(list(group), now)

    async def _release_change(self, rows: Sequence[Notification], now: datetime) -> None:
        change = rows[0].change
        if await self._decision.silenced(change, now) or await self._decision.limited(change, now):
            return
        queued = [
            msgspec.structs.replace(
                one, state=State.QUEUED, due_at=now, updated_at=now, version=version_at(now)
            )
            for one in rows
        ]
        await self._ledger.record(queued)
        self._notifier.take_up(queued)
