"""Composition root of the alert service: CloudEvents by HTTP and AlertService by gRPC."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_alerts.episodes import Episodes
from sensor_alerts.handler import AlertEvents
from sensor_alerts.history import History
from sensor_alerts.intake import Intake
from sensor_alerts.notify.notifications import Notifications
from sensor_alerts.notify.routes import Routes, load_routes
from sensor_alerts.server import GrpcServer
from sensor_alerts.service import AlertService
from sensor_alerts.settings import AlertServiceSettings
from sensor_alerts.silences.service import SilenceService
from sensor_alerts.tasks import end
from sensor_shared.adapters import redis
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.rules import Rules, load_rules
from sensor_shared.runtime.events import EventApp
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.settings import config_file
from sensor_shared.telemetry.logs import logger

_CHECK_SECONDS: Final = 2.0
# A storm of alerts waits for its turn: that all connections are in use is not Redis being away.
_REDIS_WAIT_SECONDS: Final = 5.0


class AlertsFunction:
    """The alert service; see `sensor_shared.runtime.function.Function`.

    Args:
        settings: of all its parts.
        rules: give the severity when a request does not.
        routes: who is told of what, besides the recipients that the settings name.
        prefix: of the keys in Redis; instances with the same one decide together.
    """

    name = "alerts"

    def __init__(
        self,
        settings: AlertServiceSettings,
        rules: Rules,
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
        settings, limits = self._settings, self._settings.limits
        window_ms = int(limits.deduplication * 1000)
        shared = redis.connect(settings.redis, wait=_REDIS_WAIT_SECONDS)
        database = Database(settings.clickhouse)
        history = History(database, window_ms)
        notifications = Notifications(
            settings.notify,
            settings.smtp,
            settings.webhook,
            settings.mqtt,
            limits=limits.limits(),
            routes=self._routes,
            redis=shared,
            database=database,
            prefix=self._prefix,
        )
        intake = Intake(
            rules=self._rules,
            history=history,
            episodes=Episodes(shared, window_ms, self._prefix),
            notifier=notifications.notifier,
        )
        service = AlertService(
            intake, history, lambda: self._missing, timeout=settings.grpc.timeout
        )
        silences = SilenceService(notifications.silences, timeout=settings.grpc.timeout)
        server = GrpcServer(settings.grpc, service, silences)
        handler = AlertEvents(intake)
        self._app = EventApp(self.name, handler, max_body_bytes=settings.server.max_body_bytes)
        await notifications.start(intake.emailed)
        await server.start()
        self._grpc = server
        self._log.info("gRPC serves", host=settings.grpc.host, port=server.port)
        self._tasks = [
            asyncio.create_task(self._check(history, server)),
            asyncio.create_task(self._every(limits.update, intake.flush)),
        ]
        # Closed in the opposite order: first no new requests, last the clients.
        for close in (
            shared.aclose,
            database.close,
            history.close,
            lambda: _at_last(intake.flush),
            notifications.stop,
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
        return self._missing == "stopping" or not any(task.done() for task in self._tasks)

    def ready(self) -> bool:
        """True when gRPC serves and ClickHouse has answered just now."""
        return self._missing is None

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

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Retry as error:
                self._log.warning("changes of alerts not recorded yet", reason=str(error))
            except ClickHouseError:
                self._log.exception("changes of alerts refused")

    async def _end_tasks(self) -> None:
        await end(self._tasks)


async def _at_last(work: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(Retry, ClickHouseError):
        await work()


def new() -> AlertsFunction:
    """Makes the function from the process's environment.

    Raises:
        SettingsError, RulesError, RoutesError: when the configuration cannot be used.
    """
    settings = AlertServiceSettings.load(os.environ, config_file(os.environ, "alerts"))
    folder = Path(os.environ.get("TWINUP_CONFIG_DIR", "configs"))
    return AlertsFunction(
        settings,
        load_rules(settings.rules.file or folder / "alert-rules.yaml"),
        load_routes(settings.notify.routes or folder / "alert-routes.yaml"),
    )
