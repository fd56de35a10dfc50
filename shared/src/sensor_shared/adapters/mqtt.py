"""MQTT: publishing with QoS 1 through a bounded queue and a connection that comes back."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import aiomqtt
from pydantic import Field, SecretStr

from sensor_shared.runtime.settings import Section
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry.logs import logger

_RECONNECT_SECONDS = 1.0


class MqttSettings(Section):
    """Section MQTT."""

    elsewhere: ClassVar[frozenset[str]] = frozenset(
        {"tries", "backoff", "backoff_max", "per_minute", "workers", "deadline"}
    )
    """Of the alert service, which publishes with patience."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(gt=0, le=65_535)] = 1883
    username: str | None = None
    password: SecretStr | None = None
    client_id: str | None = None
    queue: Annotated[int, Field(gt=0)] = 10_000
    """Messages that wait while the broker is away; the oldest are given up beyond that."""
    inflight: Annotated[int, Field(gt=0, le=65_535)] = 100
    timeout: Annotated[float, Field(gt=0)] = 10.0


class GivenUpError(Exception):
    """A message was dropped, because too many waited for the broker."""


@dataclass(frozen=True, slots=True)
class _Message:
    topic: str
    payload: bytes
    retain: bool
    taken: "asyncio.Future[None] | None" = None
    """Done when the broker has taken it; cancelled when nobody waits for that any more."""

    @property
    def is_wanted(self) -> bool:
        return self.taken is None or not self.taken.done()


class Publisher:
    """Publishes in the background; what the broker has not acknowledged is sent again.

    Args:
        settings: where the broker is.
        acknowledged: called with the topic of each message that the broker has taken.
        given_up: called with the topic of each message that was dropped, oldest first,
            because the queue was full.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        acknowledged: Callable[[str], None] = lambda _topic: None,
        given_up: Callable[[str], None] = lambda _topic: None,
    ):
        self._settings = settings
        self._acknowledged = acknowledged
        self._given_up = given_up
        self._waiting: asyncio.Queue[_Message] = asyncio.Queue(settings.queue)
        self._task: asyncio.Task[None] | None = None
        self._log = logger(part="mqtt")
        self.connected = False

    def start(self) -> None:
        """Begins to connect; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="mqtt-publisher")

    async def stop(self, drain_seconds: float = 2.0) -> None:
        """Sends what is waiting, at most `drain_seconds` long, and disconnects."""
        if self._task is None:
            return
        if self.connected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._waiting.join(), drain_seconds)
        await end([self._task])

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Queues a message; never waits."""
        self._put(_Message(topic, payload, retain))

    async def deliver(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publishes a message and returns when the broker has taken it.

        Who stops waiting takes the message back, unless it is on its way already.

        Raises:
            GivenUpError: when it was dropped, because too many wait.
        """
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(_Message(topic, payload, retain, taken))
        await taken

    def _put(self, message: _Message) -> None:
        while self._waiting.full():
            self._drop(self._waiting.get_nowait())
            self._waiting.task_done()
        self._waiting.put_nowait(message)

    def _drop(self, message: _Message) -> None:
        if message.taken is not None and message.is_wanted:
            message.taken.set_exception(GivenUpError(message.topic))
        self._given_up(message.topic)

    async def _run(self) -> None:
        settings = self._settings
        while True:
            try:
                async with aiomqtt.Client(
                    settings.host,
                    settings.port,
                    username=settings.username,
                    password=settings.password.get_secret_value() if settings.password else None,
                    identifier=settings.client_id,
                    timeout=settings.timeout,
                ) as client:
                    client.pending_calls_threshold = settings.inflight  # more are no surprise
                    self.connected = True
                    async with asyncio.TaskGroup() as senders:
                        senders.create_task(_until_disconnected(client))
                        for _ in range(settings.inflight):
                            senders.create_task(self._send(client))
            except* (aiomqtt.MqttError, OSError, TimeoutError) as errors:
                self._log.warning("broker away", error=str(errors.exceptions[0]))
            finally:
                self.connected = False
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            message = await self._waiting.get()
            try:
                if not message.is_wanted:
                    continue
                await client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            except BaseException:
                # Not acknowledged: back into the queue, for the next connection.
                if not self._waiting.full():
                    self._waiting.put_nowait(message)
                else:
                    self._drop(message)
                raise
            else:
                if message.taken is not None and message.is_wanted:
                    message.taken.set_result(None)
                self._acknowledged(message.topic)
            finally:
                self._waiting.task_done()


async def _until_disconnected(client: aiomqtt.Client) -> None:
    """Raises when the connection is lost; who has nothing to send would not notice it."""
    async for _ in client.messages:
        pass  # nothing is subscribed to
