"""Takes the changes of alerts, and sees to it that people are told of them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from sensor_alerts.domain.notification import (
    ChannelName,
    News,
    Notification,
    State,
    news_of,
    notification_id,
)
from sensor_alerts.notify.decision import Decision, count_held_back
from sensor_alerts.notify.ledger import NOT_WANTED, Ledger
from sensor_alerts.notify.routes import Routes, Target
from sensor_alerts.notify.sender import Sender
from sensor_shared.contracts.alert_changes import AlertChange
from sensor_shared.telemetry import alert_metrics
from sensor_shared.telemetry.logs import logger

UNTOLD: Final = "untold"
"""Held back because the target was never told of what this follows on."""
NO_ROUTE: Final = "no_route"


class Notifier:
    """Decides who is told of a change, records that, and hands it to the channels.

    Args:
        routes: who is told of what.
        decision: what holds notifications back.
        ledger: the record.
        senders: the channels there are; a target of another one is recorded all the same.
        now: the time, UTC.
    """

    def __init__(
        self,
        routes: Routes,
        decision: Decision,
        ledger: Ledger,
        senders: Mapping[ChannelName, Sender],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._routes = routes
        self._decision = decision
        self._ledger = ledger
        self._senders = senders
        self._now = now
        self._log = logger(part="notify")

    async def offer(self, change: AlertChange) -> None:
        """Takes a change; returns when it is recorded who is told, and who is not and why.

        It never waits for a mail server or an endpoint. To be called before the change counts as
        dealt with, and again when that failed: the same change is told of once.

        Raises:
            DatabaseAwayError: when ClickHouse cannot record it now; nothing is sent then.
        """
        news = news_of(change)
        if news is None:
            return
        targets = self._routes.targets(change.alert, news)
        if not targets:
            alert_metrics.ALERTS_SUPPRESSED.labels(NO_ROUTE).inc()
            return
        now = self._now()
        reasons = await self._reasons(change, news, targets, now)
        rows = [self._row(change, news, target, reason, now) for target, reason in reasons.items()]
        await self._ledger.record(rows)
        for one in rows:
            if one.state is State.QUEUED:
                self._hand_over(one)
            else:
                count_held_back(one.channel, one.reason)

    def take_up(self, rows: Sequence[Notification]) -> None:
        """Takes what the record has as queued."""
        for one in rows:
            self._hand_over(one)

    async def _reasons(
        self, change: AlertChange, news: News, targets: Mapping[Target, bool], now: datetime
    ) -> dict[Target, str]:
        """Returns why each target is not told; empty: it is."""
        reasons = {target: "" if wanted else NOT_WANTED for target, wanted in targets.items()}
        wanted = [target for target, reason in reasons.items() if not reason]
        if not wanted:
            return reasons
        held_back = await self._decision.silenced(change, now)
        if held_back is None and news.opens:
            held_back = await self._decision.limited(change, now)
        if held_back is not None:
            alert_metrics.ALERTS_SUPPRESSED.labels(held_back.partition(" ")[0]).inc()
            return reasons | dict.fromkeys(wanted, held_back)
        if not news.opens:
            told = await self._ledger.told(change.alert.alert_id)
            reasons |= {target: UNTOLD for target in wanted if target not in told}
        return reasons

    def _row(
        self, change: AlertChange, news: News, target: Target, reason: str, now: datetime
    ) -> Notification:
        sender = self._senders.get(target.channel)
        return Notification(
            notification_id=notification_id(change.change_id, target.channel, target.address),
            change=change,
            news=news,
            channel=target.channel,
            target=target.address,
            state=State.SUPPRESSED if reason else State.QUEUED,
            reason=reason,
            due_at=now if sender is None else now + sender.collect,
            updated_at=now,
        )

    def _hand_over(self, one: Notification) -> None:
        sender = self._senders.get(one.channel)
        if sender is not None:
            sender.put(one)
