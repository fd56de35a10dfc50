"""A PingSource at work: a fixed event, sent by a schedule."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim

from sensor_dispatcher.cloudevents import CloudEvent, to_http
from sensor_dispatcher.delivery import Failure, RetryPolicy, Sender
from sensor_dispatcher.manifests import PingSource, cron
from sensor_dispatcher.tally import Tally
from sensor_shared.contracts.events import PING, new_id, rfc3339

Clock = Callable[[], datetime]


def ping_retries(status: int) -> bool:
    """Tells whether a PingSource tries again after this status (the CloudEvents SDK's list)."""
    return status in (404, 413, 425, 429, 502, 503, 504)


POLICY = RetryPolicy(5, "exponential", 0.05, 30.0, ping_retries)
"""Fixed in Knative's adapter: five retries after 0.1, 0.2 … 1.6 s, then the tick is dropped."""


def to_event(source: PingSource, namespace: str, event_id: str, now: datetime) -> CloudEvent:
    """Returns the event of one tick.

    `dataBase64` is sent as the text it is: so does Knative's adapter.
    """
    attributes = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/apis/v1/namespaces/{namespace}/pingsources/{source.metadata.name}",
        "type": PING,
        "time": rfc3339(now),
        **source.spec.ce_overrides.extensions,
    }
    data = source.spec.data_base64 or source.spec.data
    if data and source.spec.content_type:
        attributes["datacontenttype"] = source.spec.content_type
    return CloudEvent(attributes, data.encode() if data else None)


def next_tick(source: PingSource, now: datetime) -> datetime:
    """Returns the first tick after `now`, in UTC; the schedule is read in its time zone."""
    zone = ZoneInfo(source.spec.timezone) if source.spec.timezone else UTC
    tick: datetime = next(CronSim(cron(source.spec.schedule), now.astimezone(zone)))
    return tick.astimezone(UTC)


def _now() -> datetime:
    return datetime.now(UTC)


class Ping:
    """Sends the events of one PingSource; a tick does not wait for the one before it.

    Knative spreads ticks at random over half a second; here they come at once.
    """

    def __init__(self, source: PingSource, sender: Sender, namespace: str, clock: Clock = _now):
        self.name = source.metadata.name
        self.tally = Tally(self.name)
        self._source = source
        self._sender = sender
        self._namespace = namespace
        self._clock = clock
        self._log = structlog.get_logger(source=self.name)
        self._ticks: set[asyncio.Task[None]] = set()
        self._schedule: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to follow the schedule."""
        self._schedule = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the schedule and what is under way; the next start ticks anew."""
        tasks = {*self._ticks, *([self._schedule] if self._schedule else ())}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sender.close()

    async def _run(self) -> None:
        last = self._clock()
        while True:
            tick = next_tick(self._source, max(last, self._clock()))
            # sleep may end a little early: without the tick itself as a lower bound it would
            # come twice.
            await asyncio.sleep(max(0.0, (tick - self._clock()).total_seconds()))
            last = tick
            task = asyncio.create_task(self._send())
            self._ticks.add(task)
            task.add_done_callback(self._ticks.discard)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.tally.start()
        try:
            event = to_event(self._source, self._namespace, new_id(), self._clock())
            failure = await self._sender.send(to_http(event), event.data, self._retry)
        finally:
            self.tally.end()
        if failure is None:
            self.tally.deliver(loop.time() - started)
        else:
            self.tally.drop()
            self._log.error("tick dropped", status=failure.status, reason=failure.data[:200])

    def _retry(self, failure: Failure) -> None:
        self.tally.retry()
        self._log.warning("retry", status=failure.status, reason=failure.data[:200])
