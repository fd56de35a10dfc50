"""The analytics function: its parts put together, started and stopped."""

import asyncio
import contextlib
import os
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_analytics.analysis import Analysis
from sensor_analytics.handler import Handler
from sensor_analytics.intake import Intake
from sensor_analytics.messages import kind
from sensor_analytics.settings import AnalyticsSettings
from sensor_analytics.state import DeviceStore
from sensor_analytics.summaries import Summaries
from sensor_shared.adapters.clickhouse import GIVING_WAY
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.adapters.mqtt import Publisher
from sensor_shared.adapters.redis import connect
from sensor_shared.runtime.events import EventApp
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.responses import respond_problem
from sensor_shared.runtime.settings import config_file
from sensor_shared.telemetry import metrics

_PROBE_SECONDS = 2.0
_QUIET_SECONDS = 0.1
"""Without an event a step waits no longer: a pod among several has a part of what is in flight."""


class Analytics:
    """The function as both runtimes see it.

    Ready while Redis answers and the MQTT broker is connected. With the broker away events
    still succeed: messages wait, and the oldest are given up, and counted, beyond the limit.
    """

    name = "analytics"

    def __init__(self, settings: AnalyticsSettings):
        self.server = settings.server
        self.logger = settings.logger
        self._settings = settings
        self._running: _Running | None = None

    async def start(self) -> None:
        """Opens the clients; they connect by themselves."""
        self._running = _Running(self._settings)

    async def stop(self) -> None:
        """Sends the messages that wait, then closes the clients."""
        running, self._running = self._running, None
        if running is not None:
            await running.close()

    def alive(self) -> bool:
        """Always: nothing here gets stuck in a way that only a restart would mend."""
        return True

    def ready(self) -> bool:
        """Whether readings can be folded and messages leave at once."""
        return self._running is not None and self._running.ready

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The function as an ASGI application."""
        if self._running is None:
            await respond_problem(send, 503, "not started", headers={"Retry-After": "1"})
        else:
            await self._running.app(scope, receive, send)


class _Running:
    """What is open between start and stop."""

    def __init__(self, settings: AnalyticsSettings):
        own = settings.analytics
        self._redis: Redis = connect(settings.redis)
        self._redis_answers = False
        self._closing = asyncio.Event()
        self._publisher = Publisher(
            settings.mqtt,
            acknowledged=lambda topic: metrics.ANALYTICS_PUBLISHED.labels(kind(topic)).inc(),
            given_up=lambda topic: metrics.ANALYTICS_FAILED.labels(kind(topic)).inc(),
        )
        self._database = Database(settings.clickhouse, **GIVING_WAY)
        summaries = Summaries(
            self._database,
            self._redis,
            self._publisher.publish,
            window_ms=own.window * 1000,
            prefix=own.prefix,
        )
        store = DeviceStore(self._redis, own.prefix, own.trend_window)
        analysis = Analysis(store, self._publisher.publish, own, now_ms=_now_ms)
        self._analyse = GroupCommit(
            Intake(analysis.take, _now_ms),
            max_items=own.max_events,
            linger=own.step_interval,
            enough=own.step_events,
            quiet=_QUIET_SECONDS,
        )
        self.app = EventApp(
            "analytics",
            Handler(self._analyse, summaries, _now_ms),
            max_body_bytes=settings.server.max_body_bytes,
        )
        self._publisher.start()
        self._probe = asyncio.create_task(self._probe_redis(), name="analytics-probe")

    @property
    def ready(self) -> bool:
        return self._redis_answers and self._publisher.connected

    async def close(self) -> None:
        self._closing.set()
        await self._probe
        await self._analyse.drain()
        await self._publisher.stop()
        await self._database.close()
        await self._redis.aclose()

    async def _probe_redis(self) -> None:
        while not self._closing.is_set():
            try:
                await self._redis.ping()
                self._redis_answers = True
            except (RedisError, OSError):
                self._redis_answers = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _PROBE_SECONDS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def new() -> Analytics:
    """Returns the function, configured by the environment and `analytics-config.yaml`."""
    return Analytics(AnalyticsSettings.load(os.environ, config_file(os.environ, "analytics")))
