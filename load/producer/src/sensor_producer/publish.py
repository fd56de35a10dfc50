"""Kafka: every record is delivered, however long it takes, and its delivery is reported."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sensor_producer.metrics import FAILED
from sensor_producer.records import Headers, Record
from sensor_shared.telemetry.logs import logger

_PAUSE_S = 0.5
"""Before a refused record is tried again."""


Report = Callable[[KafkaError | None, Message], None]


class Client(Protocol):
    """The part of confluent_kafka.Producer that is used."""

    def produce(
        self,
        topic: str,
        /,
        *,
        value: bytes,
        key: bytes,
        partition: int,
        headers: Headers,
        on_delivery: Report,
    ) -> None:
        """Queues a record; BufferError when the queue is full."""

    def poll(self, timeout: float, /) -> int:
        """Serves delivery reports; returns how many."""

    def purge(self) -> None:
        """Gives up what is queued; each record is reported as failed."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A record that all in-sync replicas have, and when that was known here (epoch ms)."""

    record: Record
    at_ms: float


class Publisher:
    """Hands records to Kafka in order, as fast as it takes them.

    Nothing is dropped: what the client's queue has no room for, and what Kafka refuses, waits
    here, and `congested` asks whoever makes records to wait too. All calls come from one
    thread.
    """

    def __init__(
        self,
        topic: str,
        connect: Callable[[], Client],
        *,
        clock_ms: Callable[[], float] = lambda: time.time() * 1000,
    ):
        self._topic = topic
        self._connect = connect
        self._client = connect()
        self._clock_ms = clock_ms
        self._waiting: deque[Record] = deque()
        self._in_flight = 0
        self._unacknowledged = 0
        self._acknowledged: list[Acknowledged] = []
        self._paused_until = 0.0
        self._broken = False
        self._log = logger(topic=topic)

    @property
    def congested(self) -> bool:
        """Whether records wait for room, or for Kafka to accept them again."""
        return bool(self._waiting)

    @property
    def pending_records(self) -> int:
        """Records that were sent and are not acknowledged."""
        return len(self._waiting) + self._in_flight

    @property
    def pending_readings(self) -> int:
        """Readings in `pending_records`."""
        return self._unacknowledged

    def send(self, records: Iterable[Record]) -> None:
        """Accepts records; never blocks, never refuses."""
        for record in records:
            self._unacknowledged += len(record.readings)
            self._waiting.append(record)
        self._hand_over()

    def poll(self, timeout: float) -> None:
        """Serves reports until `timeout` seconds are over, and hands over what waits."""
        deadline = time.monotonic() + timeout
        left = timeout
        while True:
            self._client.poll(math.ceil(left * 1000) / 1000)  # it knows whole milliseconds only
            if self._broken:
                self._reconnect()
            self._hand_over()
            left = deadline - time.monotonic()
            if left <= 0:
                return

    def take_acknowledged(self) -> list[Acknowledged]:
        """Returns what was acknowledged since the last call."""
        taken, self._acknowledged = self._acknowledged, []
        return taken

    def _hand_over(self) -> None:
        if self._waiting and time.monotonic() < self._paused_until:
            return
        while self._waiting:
            record = self._waiting[0]
            try:
                self._client.produce(
                    self._topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=record.headers,
                    on_delivery=partial(self._settle, record),
                )
            except BufferError:
                return
            except KafkaException as error:
                self._refused(error.args[0])
                return
            self._waiting.popleft()
            self._in_flight += 1

    def _settle(self, record: Record, error: KafkaError | None, _message: Message) -> None:
        self._in_flight -= 1
        if error is None:
            self._unacknowledged -= len(record.readings)
            self._acknowledged.append(Acknowledged(record, self._clock_ms()))
            return
        # The same record, so the same event id: should Kafka have it all the same, the
        # consumer recognises it.
        self._waiting.append(record)
        self._refused(error)

    def _refused(self, error: KafkaError) -> None:
        FAILED.inc()
        if time.monotonic() >= self._paused_until:
            self._log.warning("delivery refused, trying again", error=str(error))
        self._paused_until = time.monotonic() + _PAUSE_S
        self._broken |= error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001

    def _reconnect(self) -> None:
        """Replaces a client that an idempotent producer's fatal error has ended."""
        self._client.purge()
        while self._in_flight and self._client.poll(1.0):
            pass
        self._log.warning("starting a new Kafka client", records_kept=len(self._waiting))
        self._client = self._connect()
        self._broken = False


def connect(brokers: str, *, linger: float, queue_records: int) -> Producer:
    """Returns a client that never gives up on a record by itself; `linger` in seconds."""
    return Producer(
        {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "snappy",
            "linger.ms": linger * 1000,
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": queue_records,
            "reconnect.backoff.max.ms": 1_000,
            "socket.nagle.disable": True,
        },
        logger=logging.getLogger("kafka"),
    )


def count_partitions(client: Producer, topic: str, timeout: float) -> int:
    """Returns how many partitions the topic has; 0 when it is not there (yet).

    Raises:
        KafkaException: when no broker answers within `timeout` seconds.
    """
    found = client.list_topics(topic, timeout=timeout).topics[topic]
    return 0 if found.error is not None else len(found.partitions)
