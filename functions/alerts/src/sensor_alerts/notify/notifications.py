"""All of it put together: the channels that the routes need, and what feeds them."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from sensor_alerts.domain.limits import Limits, LocalGate
from sensor_alerts.domain.notification import ChannelName
from sensor_alerts.gate import RedisGate
from sensor_alerts.notify.channel import Channel
from sensor_alerts.notify.claims import Claims
from sensor_alerts.notify.decision import Decision, FallbackGate
from sensor_alerts.notify.ledger import Ledger
from sensor_alerts.notify.mail.letter import MAX_ROWS, Letters
from sensor_alerts.notify.mail.post import Post
from sensor_alerts.notify.mqtt import Mqtt
from sensor_alerts.notify.notifier import Notifier
from sensor_alerts.notify.routes import Route, Routes
from sensor_alerts.notify.sender import Bundling, Sender, Told
from sensor_alerts.notify.settings import (
    AlertMqttSettings,
    ChannelSettings,
    NotifySettings,
    SmtpSettings,
    WebhookSettings,
)
from sensor_alerts.notify.upkeep import Upkeep
from sensor_alerts.notify.webhook.channel import Webhook
from sensor_alerts.silences.silences import Silences
from sensor_alerts.silences.store import SilenceStore
from sensor_shared.adapters.database import Database
from sensor_shared.telemetry.logs import logger

_DRAIN_SECONDS: Final = 5.0


class Notifications:
    """The notifier, the silences, and the senders of every channel that somebody is told by.

    Args:
        notify: what holds for all channels.
        smtp: the mail server.
        webhook: how endpoints are spoken to.
        mqtt: the broker.
        limits: how often people are told.
        routes: who is told of what.
        redis: shared by all replicas.
        database: where the records are.
        prefix: of the keys in Redis.

    Raises:
        RoutesError: when an endpoint has no secret.
        jinja2.TemplateError: for a template that cannot be used.
    """

    def __init__(
        self,
        notify: NotifySettings,
        smtp: SmtpSettings,
        webhook: WebhookSettings,
        mqtt: AlertMqttSettings,
        *,
        limits: Limits,
        routes: Routes,
        redis: Redis,
        database: Database,
        prefix: str = "alerts",
    ):
        self._redis = redis
        self._prefix = prefix
        self._owner = uuid.uuid4().hex
        self._ledger = Ledger(database)
        self.silences = Silences(SilenceStore(database), notify.silences)
        self._senders: dict[ChannelName, Sender] = {}
        everything = _with_recipients(routes, smtp.recipients)
        if any(route.email for route in everything.routes):
            letters = Letters(smtp.sender, notify.link, smtp.templates)
            bundling = Bundling(smtp.collect, smtp.digest_over, MAX_ROWS)
            self._add(ChannelName.EMAIL, Post(smtp, letters), smtp, bundling)
        if any(route.webhooks for route in everything.routes):
            self._add(ChannelName.WEBHOOK, Webhook(webhook, everything.endpoints), webhook)
        if any(route.mqtt for route in everything.routes):
            self._add(ChannelName.MQTT, Mqtt(mqtt), mqtt)
        gate = FallbackGate(RedisGate(redis, limits, prefix), LocalGate(limits))
        decision = Decision(self.silences, gate)
        self.notifier = Notifier(everything, decision, self._ledger, self._senders)
        self._upkeep = Upkeep(
            notify,
            self.notifier,
            decision,
            self._ledger,
            self._claims(notify.take_up),
            senders=self._senders,
        )
        self._log = logger(part="notify")

    async def start(self, emailed: Told) -> None:
        """Begins; must be called in a running event loop.

        Args:
            emailed: called with each alert that the mail server took a mail about.
        """
        if not self._senders:
            self._log.warning("no route tells anybody: notifications are off")
        mail = self._senders.get(ChannelName.EMAIL)
        if mail is not None:
            mail.told = emailed
        for sender in self._senders.values():
            await sender.start()
        self.silences.start()
        self._upkeep.start()

    async def stop(self) -> None:
        """Sends what is due, for a moment; the rest stays in the record."""
        await self._upkeep.stop()
        await asyncio.gather(*(one.stop(_DRAIN_SECONDS) for one in self._senders.values()))
        await self.silences.stop()
        await self._ledger.close()

    def _add(
        self,
        name: ChannelName,
        channel: Channel,
        settings: ChannelSettings,
        bundling: Bundling | None = None,
    ) -> None:
        # A claim outlives a try, and not by much: it is in the way of who comes after a crash.
        claims = self._claims(2 * settings.deadline)
        self._senders[name] = Sender(
            name, channel, settings, self._ledger, claims, bundling=bundling
        )

    def _claims(self, lease: float) -> Claims:
        return Claims(self._redis, owner=self._owner, lease=lease, prefix=self._prefix)


def _with_recipients(routes: Routes, recipients: Sequence[str]) -> Routes:
    """Adds who is told of everything."""
    if not recipients:
        return routes
    # Not one of those that have a name in the file.
    everything = Route.model_construct(name="", email=tuple(recipients))
    return routes.model_copy(update={"routes": (*routes.routes, everything)})
