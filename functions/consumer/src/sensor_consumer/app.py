"""Composition root: puts the parts together, opens them at start, closes them at stop."""

import asyncio
import os
from typing import Final

from sensor_consumer import lag
from sensor_consumer.breaches import BreachReporter
from sensor_consumer.cache import Cache
from sensor_consumer.circuit import Circuit
from sensor_consumer.devices import KnownDevices
from sensor_consumer.floodgate import Floodgate
from sensor_consumer.handler import Handler
from sensor_consumer.health import Health
from sensor_consumer.marks import LateMarks, MarkedTables
from sensor_consumer.rollups import Rollups
from sensor_consumer.seen import SharedKeys
from sensor_consumer.settings import ConsumerSettings
from sensor_consumer.stages import Stages
from sensor_consumer.store import Store
from sensor_consumer.tables import Tables
from sensor_shared.adapters.clickhouse import GIVING_WAY
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.grpc import AlertClient
from sensor_shared.adapters.kafka import EventPublisher
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.redis import connect as connect_redis
from sensor_shared.adapters.rules_file import RulesFile
from sensor_shared.contracts.readings.numbers import DeviceNumbers
from sensor_shared.contracts.rules import RulesError
from sensor_shared.runtime.events import EventApp
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.settings import SettingsError, config_file

LOOK_SECONDS: Final = 1.0


class Consumer:
    """The function `consumer`.

    Args:
        settings: all of it.
        rules: tested against every reading; read again when their file changes.
    """

    name = "consumer"

    def __init__(self, settings: ConsumerSettings, rules: RulesFile):
        self.server = settings.server
        self.logger = settings.logger
        self._settings = settings
        self._redis = connect_redis(settings.redis)
        self._database = Database(settings.clickhouse)
        rollup = settings.rollup
        of_rollups = GIVING_WAY | {
            "max_threads": rollup.threads,
            "max_execution_time": rollup.timeout,
        }
        self._rollup_database = Database(settings.clickhouse, **of_rollups)
        self._health = Health(self._database, self._redis)
        latest = settings.latest
        numbers = DeviceNumbers()
        self._store = Store(
            MarkedTables(
                Tables(
                    self._database,
                    KnownDevices(numbers),
                    rejects_interval=settings.store.rejects_interval,
                ),
                LateMarks(self._database),
            ),
            Cache(
                LatestReadings(self._redis, ttl_seconds=latest.ttl_seconds, numbers=numbers),
                SharedKeys(self._redis, seconds=settings.store.remember_seconds),
                Circuit(latest.pause),
                timeout=latest.timeout,
            ),
            Stages(),
            settings.store,
        )
        self._floodgate = Floodgate(self._store, settings.flood)
        self._rules = rules
        self._service: AlertClient | None = None
        self._publisher: EventPublisher | None = None
        self._app: EventApp | None = None
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Opens the clients; each connects by itself, and again whenever it must."""
        settings = self._settings
        self._service = AlertClient(settings.alerts)
        self._publisher = EventPublisher(settings.kafka)
        reporter = BreachReporter(
            self._service,
            self._publisher,
            Circuit(settings.breaches.pause),
            concurrency=settings.breaches.concurrency,
        )
        self._app = EventApp(
            self.name,
            Handler(
                self._floodgate,
                self._rules,
                reporter,
                rollups=Rollups(self._rollup_database, late_minutes=settings.rollup.late_minutes),
            ),
            max_body_bytes=settings.server.max_body_bytes,
        )
        self._store.start()
        self._watches.append(asyncio.create_task(self._health.watch(), name="health"))
        self._watches.append(asyncio.create_task(self._look(), name="floodgate"))
        self._watches.append(asyncio.create_task(self._rules.watch(), name="rules"))
        if settings.lag.enabled:
            watch = lag.watch(settings.kafka, settings.lag)
            self._watches.append(asyncio.create_task(watch, name="lag"))

    async def stop(self) -> None:
        """Closes the clients."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self._store.stop()
        if self._service is not None:
            await self._service.close()
        if self._publisher is not None:
            await self._publisher.close()
        await self._redis.aclose()
        await self._rollup_database.close()
        await self._database.close()

    def alive(self) -> bool:
        """False when storing has ended in a way nothing foresaw."""
        return self._app is None or self._store.running

    def ready(self) -> bool:
        """True while ClickHouse answers.

        In a flood of rejects too: an unready function gets no events, and the good ones among
        them would wait with the bad. `troubles` says what is wrong.
        """
        return self._app is not None and self._store.running and self._health.ready

    def troubles(self) -> list[str]:
        """What is wrong although the function takes events."""
        if self._app is None:
            return []
        found = (
            *(self._floodgate.trouble, self._health.trouble, self._app.trouble),
            self._rules.trouble,
        )
        return [trouble for trouble in found if trouble is not None]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._floodgate.look()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if self._app is None:
            raise RuntimeError("the consumer has not been started")
        await self._app(scope, receive, send)


def new() -> Consumer:
    """Returns the function as the environment configures it.

    Raises:
        SettingsError: naming every mistake.
    """
    settings = ConsumerSettings.load(os.environ, config_file(os.environ, "consumer"))
    try:
        rules = RulesFile(settings.breaches.rules)
    except RulesError as error:
        raise SettingsError(str(error)) from error
    return Consumer(settings, rules)
