"""Composition root of the alert service: CloudEvents by HTTP and AlertService by gRPC."""

import asyncio
import contextlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_alerts.changes import Changes
from sensor_alerts.desk import Desk
from sensor_alerts.handler import AlertEvents
from sensor_alerts.history import History
from sensor_alerts.intake import Intake
from sensor_alerts.leases import Leases
from sensor_alerts.ledger import Ledger
from sensor_alerts.live import LiveChanges
from sensor_alerts.notify.notifications import Notifications
from sensor_alerts.notify.routes import Routes, load_routes
from sensor_alerts.outbox import Outbox
from sensor_alerts.server import GrpcServer
from sensor_alerts.service import AlertService
from sensor_alerts.settings import AlertServiceSettings
from sensor_alerts.silences.service import SilenceService
from sensor_alerts.sweep.conditions import Conditions
from sensor_alerts.sweep.fleet import Fleet
from sensor_alerts.sweep.offline_alerts import OfflineAlerts
from sensor_alerts.sweep.pause import Pauses
from sensor_alerts.sweep.readings import StoredReadings
from sensor_alerts.sweep.scan import Scan
from sensor_alerts.sweep.silence import Silence
from sensor_alerts.sweep.tick import Tick
from sensor_shared.adapters import redis
from sensor_shared.adapters.alert_tail import AlertTail
from sensor_shared.adapters.clickhouse import GIVING_WAY
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.adapters.kafka import EventPublisher
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.rules_file import RulesFile
from sensor_shared.runtime.events import EventApp
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.settings import config_file
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry.logs import logger

_CHECK_SECONDS: Final = 2.0
# A storm of alerts waits for its turn: that all connections are in use is not Redis being away.
_REDIS_WAIT_SECONDS: Final = 5.0


class AlertsFunction:
    """The alert service; see `sensor_shared.runtime.function.Function`.

    Args:
        settings: of all its parts.
        rules: read again when their file changes.
        prefix: of the keys in Redis; instances with the same one decide together.
    """

    name = "alerts"

    def __init__(
        self,
        settings: AlertServiceSettings,
        rules: RulesFile,
        routes: Routes | None = None,
        *,
        prefix: str = "alerts",
    ):
        self.server = settings.server
        self.logger = settings.logger
        self._settings = settings
        self._rules = rules
        self._routes = routes or Routes()
        self._prefix = prefix
        self._missing: str | None = "starting"
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = contextlib.AsyncExitStack()
        self._app: EventApp | None = None
        self._outbox: Outbox | None = None
        self._grpc: GrpcServer | None = None
        self._log = logger(function=self.name)

    @property
    def grpc_port(self) -> int:
        """The port that AlertService listens on."""
        if self._grpc is None:
            raise RuntimeError("not started")
        return self._grpc.port

    async def start(self) -> None:
        """Opens clients, queue and gRPC server; what is away is tried again until it answers."""
        settings, pace = self._settings, self._settings.pace
        window_ms, update = int(pace.deduplication * 1000), timedelta(seconds=pace.update)
        shared = redis.connect(settings.redis, wait=_REDIS_WAIT_SECONDS)
        database = Database(settings.clickhouse)
        sweep_database = Database(
            settings.clickhouse,
            **(GIVING_WAY | {"max_threads": settings.sweep.threads}),
            max_execution_time=settings.sweep.timeout,
        )
        publisher = EventPublisher(settings.kafka)
        changes = Changes(database)
        history = History(database, changes)
        notifications = Notifications(
            settings.notify,
            settings.smtp,
            settings.webhook,
            settings.mqtt,
            limits=pace.limits(),
            routes=self._routes,
            redis=shared,
            database=database,
            prefix=self._prefix,
        )
        live = LiveChanges(AlertTail(shared, self._prefix), keep=settings.stream.keep)
        outbox = Outbox(changes, notifications.notifier, publisher, live)
        leases = Leases(shared, self._prefix)
        ledger = Ledger(leases, changes, history, outbox)
        intake = Intake(self._rules, ledger, history, window_ms=window_ms)
        desk = Desk(history, changes, ledger)
        readings = StoredReadings(sweep_database)
        latest = LatestReadings(shared, ttl_seconds=settings.latest.ttl_seconds)
        fleet = Fleet(shared, latest, readings, self._prefix)
        pauses = Pauses(shared, fleet, readings, self._prefix)
        tick = Tick(
            rules=self._rules,
            leases=leases,
            conditions=Conditions(
                leases, ledger, history, readings, quiet_ms=window_ms, update=update
            ),
            silence=Silence(fleet, pauses, OfflineAlerts(intake, ledger, update=update)),
            scan=Scan(readings, fleet, intake),
            ledger=ledger,
            outbox=outbox,
            scan_seconds=settings.sweep.scan,
        )
        service = AlertService(intake, desk, lambda: self._missing, timeout=settings.grpc.timeout)
        silences = SilenceService(notifications.silences, timeout=settings.grpc.timeout)
        server = GrpcServer(settings.grpc, service, silences)
        handler = AlertEvents(intake, tick)
        self._app = EventApp(self.name, handler, max_body_bytes=settings.server.max_body_bytes)
        await notifications.start(desk.emailed)
        outbox.start()
        await server.start()
        self._grpc = server
        self._log.info("gRPC serves", host=settings.grpc.host, port=server.port)
        self._tasks = [
            asyncio.create_task(self._check(history, server), name="check"),
            asyncio.create_task(self._rules.watch(settings.rules.check), name="rules"),
        ]
        self._outbox = outbox
        # Closed in the opposite order: first no new requests, last the clients.
        for close in (
            shared.aclose,
            database.close,
            sweep_database.close,
            publisher.close,
            history.close,
            changes.close,
            notifications.stop,
            live.close,
            outbox.stop,
            ledger.close,
            server.stop,
            self._end_tasks,
        ):
            self._closing.push_async_callback(close)

    async def stop(self) -> None:
        """Refuses new calls, sends and records what waits, closes the clients."""
        self._missing = "stopping"
        await self._closing.aclose()

    def alive(self) -> bool:
        """False when a task of its own has ended."""
        if self._missing == "stopping":
            return True
        running = self._outbox is None or self._outbox.alive
        return running and not any(task.done() for task in self._tasks)

    def ready(self) -> bool:
        """True when gRPC serves and ClickHouse has answered just now."""
        return self._missing is None

    def troubles(self) -> list[str]:
        """What is wrong although the function takes alerts."""
        return [trouble for trouble in (self._rules.trouble,) if trouble is not None]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The function as an ASGI application."""
        if self._app is None:
            raise RuntimeError("not started")
        await self._app(scope, receive, send)

    async def _check(self, history: History, server: GrpcServer) -> None:
        while True:
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await history.answers()
                missing = None
            except (DatabaseAwayError, ClickHouseError, TimeoutError) as error:
                missing = "ClickHouse does not answer"
                if self._missing != missing:
                    self._log.warning("not ready", reason=missing, error=str(error))
            if missing != self._missing:
                self._missing = missing
                await server.show(healthy=missing is None)
            await asyncio.sleep(_CHECK_SECONDS if missing is None else _CHECK_SECONDS / 4)

    async def _end_tasks(self) -> None:
        await end(self._tasks)


def new() -> AlertsFunction:
    """Makes the function from the process's environment.

    Raises:
        SettingsError, RulesError, RoutesError: when the configuration cannot be used.
    """
    settings = AlertServiceSettings.load(os.environ, config_file(os.environ, "alerts"))
    folder = Path(os.environ.get("TWINUP_CONFIG_DIR", "configs"))
    return AlertsFunction(
        settings,
        RulesFile(settings.rules.file or folder / "alert-rules.yaml"),
        load_routes(settings.notify.routes or folder / "alert-routes.yaml"),
    )
