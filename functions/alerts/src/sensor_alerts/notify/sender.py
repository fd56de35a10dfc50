"""Sends what waits in one channel's line: claimed first, within its rate, again when it failed."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from redis.exceptions import RedisError

from sensor_alerts.domain.notification import ChannelName, Notification, State
from sensor_alerts.notify.channel import Channel, NotDeliveredError
from sensor_alerts.notify.claims import Claim, Claims
from sensor_alerts.notify.ledger import Ledger
from sensor_alerts.notify.line import Line
from sensor_alerts.notify.settings import ChannelSettings
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

_MAX_AFTER: Final = 3_600.0
_MAX_REASON: Final = 500
_RECORD_PAUSE_SECONDS: Final = 1.0

Told = Callable[[AlertSnapshot], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Bundling:
    """Which notifications for one target become one message.

    Attributes:
        collect: seconds that a new one waits for others.
        over: more than these at once become one message.
        most: in one message.
    """

    collect: float = 0.0
    over: int = 1
    most: int = 1


class Sender:
    """Tells the targets of one channel.

    A try that fails is followed by another, later and later; the last one makes a dead letter. What
    this process has no room for, or leaves behind, stays queued in the ledger.

    Args:
        name: of the channel.
        channel: hands messages over.
        settings: how patiently.
        ledger: the record.
        claims: keep two replicas from sending the same; with Redis away everything is sent.
        bundling: of several notifications in one message.
        now: the time, UTC.
        chance: gives a number from 0 to 1.
    """

    def __init__(
        self,
        name: ChannelName,
        channel: Channel,
        settings: ChannelSettings,
        ledger: Ledger,
        claims: Claims,
        *,
        bundling: Bundling | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ):
        self.name = name
        self._channel = channel
        self._settings = settings
        self._ledger = ledger
        self._claims = claims
        self._bundling = bundling or Bundling()
        self.told: Told | None = None
        """Called with each alert that asks for somebody, once a target was told of it."""
        self._now = now
        self._chance = chance
        self._line = Line(settings.queue, self._bundling.most, now)
        self._tasks: list[asyncio.Task[None]] = []
        self._log = logger(part="notify", channel=name)

    @property
    def room(self) -> int:
        """How many more notifications can wait here."""
        return self._line.room

    @property
    def collect(self) -> timedelta:
        """How long something new waits for others that go with it."""
        return timedelta(seconds=self._bundling.collect)

    def put(self, one: Notification) -> None:
        """Takes what the ledger has as queued; without room it is left there, for later."""
        if not self._line.put(one):
            self._log.debug("no room: left in the record", notification=one.notification_id)
        alert_metrics.NOTIFY_WAITING.labels(self.name).set(len(self._line))

    async def start(self) -> None:
        """Begins to send."""
        await self._channel.open()
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._settings.workers)]

    async def stop(self, drain_seconds: float) -> None:
        """Sends what is due, at most so long; the rest is left in the ledger."""
        if self._tasks:
            try:
                async with asyncio.timeout(drain_seconds):
                    await self._line.drain()
            except TimeoutError:
                self._log.warning("left in the record", count=len(self._line))
        await end(self._tasks)
        await self._channel.close()

    async def _run(self) -> None:
        while True:
            taken = await self._line.take()
            again: list[Notification] = []
            try:
                for parcel in self._parcels(taken):
                    again += await self._send(parcel)
            except Exception:  # noqa: BLE001  (one message must not end all; it is queued still)
                self._log.exception("sending failed")
            finally:
                self._line.done(taken, again)
                alert_metrics.NOTIFY_WAITING.labels(self.name).set(len(self._line))

    def _parcels(self, taken: list[Notification]) -> list[list[Notification]]:
        """One message or several, in which an alert's changes follow each other."""
        ordered = sorted(taken, key=lambda one: one.change.at)
        if len(ordered) > self._bundling.over:
            return [ordered]
        return [[one] for one in ordered]

    async def _send(self, parcel: list[Notification]) -> list[Notification]:
        """Makes one try; returns what is to be tried again here."""
        now = self._now()
        ours = await self._claimed(parcel)
        if not ours:
            return []
        if not await self._has_room(ours[0], now):
            await self._release(ours)
            later = now + timedelta(seconds=1 + self._chance())
            return [msgspec.structs.replace(one, due_at=later) for one in ours]
        try:
            async with asyncio.timeout(self._settings.deadline):
                await self._channel.deliver(ours[0].target, ours)
        except TimeoutError:
            error = NotDeliveredError(f"took longer than {self._settings.deadline:g} s")
            return await self._failed(ours, error)
        except NotDeliveredError as error:
            return await self._failed(ours, error)
        except Exception as error:  # noqa: BLE001  (a mistake of ours must not lose it)
            self._log.exception("channel failed")
            return await self._failed(ours, NotDeliveredError(repr(error)))
        await self._note_sent(ours)
        return []

    async def _claimed(self, parcel: list[Notification]) -> list[Notification]:
        ids = [one.notification_id for one in parcel]
        try:
            claims = await self._claims.take(ids)
        except RedisError:
            return parcel
        by_claim = list(zip(parcel, claims, strict=True))
        # Sent, and then its replica came to an end, or the record was away.
        sent = [one for one, claim in by_claim if claim is Claim.SENT]
        await self._record([self._after(one, State.SENT, "", self._now()) for one in sent])
        return [one for one, claim in by_claim if claim is Claim.OURS]

    async def _has_room(self, one: Notification, now: datetime) -> bool:
        try:
            return await self._claims.room(
                self.name,
                f"{one.notification_id}:{one.tries}",
                self._settings.per_minute,
                int(now.timestamp() * 1000),
            )
        except RedisError:
            return True

    async def _failed(
        self, parcel: list[Notification], error: NotDeliveredError
    ) -> list[Notification]:
        now, after = self._now(), []
        for one in parcel:
            given_up = error.final or one.tries + 1 >= self._settings.tries
            wait = self._settings.waits().seconds(one.tries + 1, self._chance)
            due = now + timedelta(seconds=max(wait, min(error.after, _MAX_AFTER)))
            state = State.FAILED if given_up else State.QUEUED
            after.append(self._after(one, state, str(error)[:_MAX_REASON], due))
        failed = [one for one in after if one.state is State.FAILED]
        again = [one for one in after if one.state is State.QUEUED]
        alert_metrics.ALERTS_NOTIFY_FAILED.labels(self.name).inc(len(failed))
        alert_metrics.NOTIFY_RETRIED.labels(self.name).inc(len(again))
        say = self._log.error if failed else self._log.warning
        say(
            "given up: a dead letter" if failed else "not taken, tried again later",
            target=parcel[0].target,
            count=len(parcel),
            tries=after[0].tries,
            error=str(error)[:_MAX_REASON],
        )
        await self._record(after)
        await self._release(parcel)
        return again

    async def _note_sent(self, parcel: list[Notification]) -> None:
        now = self._now()
        try:
            await self._claims.sent([one.notification_id for one in parcel])
        except RedisError as error:
            self._log.warning("Redis away", error=str(error))
        alert_metrics.ALERTS_NOTIFIED.labels(self.name).inc(len(parcel))
        for one in parcel:
            alert_metrics.NOTIFY_LATENCY.labels(self.name).observe(
                max(0.0, (now - one.change.at).total_seconds() * 1000)
            )
        await self._record([self._after(one, State.SENT, "", now) for one in parcel])
        if self.told is not None:
            await asyncio.gather(*(self.told(one.alert) for one in parcel if one.news.opens))

    def _after(
        self, one: Notification, state: State, reason: str, due_at: datetime
    ) -> Notification:
        now = self._now()
        return msgspec.structs.replace(
            one,
            state=state,
            reason=reason,
            tries=one.tries + 1,
            due_at=due_at,
            updated_at=now,
            version=version_at(now),
        )

    async def _release(self, parcel: Sequence[Notification]) -> None:
        try:
            await self._claims.release([one.notification_id for one in parcel])
        except RedisError as error:
            self._log.warning("Redis away", error=str(error))

    async def _record(self, rows: Sequence[Notification]) -> None:
        """Waits until the record has it: while it is away, nothing new comes in either."""
        while True:
            try:
                await self._ledger.record(rows)
            except DatabaseAwayError as error:
                self._log.warning("record away", error=str(error))
                await asyncio.sleep(_RECORD_PAUSE_SECONDS)
            else:
                return


def version_at(now: datetime) -> int:
    """Returns the version of what is recorded at a moment: its epoch microseconds.

    The first record of a notification has version 1: written again, it replaces nothing.
    """
    return int(now.timestamp() * 1_000_000)
