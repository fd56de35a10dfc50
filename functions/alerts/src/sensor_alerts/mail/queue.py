"""When mails go out: in the background, collected for a moment, many alerts in one mail."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Final

from sensor_alerts.mail.letter import Letters
from sensor_alerts.settings import SmtpSettings
from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

CHANNEL: Final = "email"

Sent = Callable[[AlertSnapshot], Awaitable[None]]


class MailQueue:
    """Takes alerts without waiting and tells the recipients of them.

    Args:
        settings: whom to tell, and how patiently.
        deliver: hands a mail to the server; False: it was given up.
    """

    def __init__(self, settings: SmtpSettings, deliver: Callable[[EmailMessage], Awaitable[bool]]):
        self._settings = settings
        self._letters = Letters(settings.sender, settings.recipients)
        self._deliver = deliver
        self._waiting: asyncio.Queue[AlertSnapshot] = asyncio.Queue(settings.queue)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = logger(part="mail")

    def start(self, sent: Sent) -> None:
        """Begins to send; must be called in a running event loop.

        Args:
            sent: called with each alert whose mail the server took.
        """
        if not self._settings.recipients:
            self._log.warning("no recipients are configured: e-mail is off")
            return
        self._task = asyncio.create_task(self._run(sent), name="mail-queue")

    async def stop(self, drain_seconds: float = 5.0) -> None:
        """Sends what waits, at most `drain_seconds` long."""
        if self._task is None:
            return
        self._stopping.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), drain_seconds)
        if not self._waiting.empty():
            self._log.error("alerts without a mail", count=self._waiting.qsize())
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def submit(self, alert: AlertSnapshot) -> None:
        """Queues an alert; it goes without a mail when too many wait."""
        if self._task is None:
            return
        try:
            self._waiting.put_nowait(alert)
        except asyncio.QueueFull:
            metrics.ALERTS_NOTIFY_FAILED.labels(CHANNEL).inc()
            self._log.error("queue of mails full", alert=alert.alert_id)

    async def _run(self, sent: Sent) -> None:
        while True:
            group = [await self._waiting.get()]
            try:
                await self._collect(group)
                await self._send(group, sent)
            except Exception:  # noqa: BLE001  (one mail must not end all mails)
                self._log.exception("mail failed")
            finally:
                for _ in group:
                    self._waiting.task_done()

    async def _collect(self, group: list[AlertSnapshot]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._settings.collect)
        while not self._waiting.empty():
            group.append(self._waiting.get_nowait())

    async def _send(self, group: Sequence[AlertSnapshot], sent: Sent) -> None:
        # An alert that got worse while it waited is told of once, as it is now.
        newest = {alert.alert_id: alert for alert in sorted(group, key=lambda one: one.version)}
        alerts, now = list(newest.values()), datetime.now(UTC)
        if len(alerts) > self._settings.digest_over:
            await self._hand_over(self._letters.digest(alerts, now), alerts, sent)
            return
        for alert in alerts:
            await self._hand_over(self._letters.single(alert, now), [alert], sent)

    async def _hand_over(
        self, mail: EmailMessage, alerts: Sequence[AlertSnapshot], sent: Sent
    ) -> None:
        if not await self._deliver(mail):
            metrics.ALERTS_NOTIFY_FAILED.labels(CHANNEL).inc(len(alerts))
            self._log.error("mail given up", alerts=[alert.alert_id for alert in alerts])
            return
        metrics.ALERTS_NOTIFIED.labels(CHANNEL).inc(len(alerts))
        await asyncio.gather(*(sent(alert) for alert in alerts))
