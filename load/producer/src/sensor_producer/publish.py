"""Kafka: every record is delivered, however long it takes, and its delivery is reported."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sensor_producer.allowance import Allowance
from sensor_producer.client import Client
from sensor_producer.records import Record
from sensor_producer.spool import Place, Spool
from sensor_shared.telemetry.logs import logger
from sensor_shared.telemetry.metrics import PRODUCER_FAILED

_PAUSE_S = 0.5
"""Before a refused record is tried again."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A record that all in-sync replicas have, and when that was known here (epoch ms)."""

    record: Record
    at_ms: float


@dataclass(slots=True, eq=False)
class _Flight:
    """A record in memory on its way to Kafka, from when on (monotonic), and its copy on disk."""

    record: Record
    since: float
    place: Place | None = None


class Publisher:
    """Hands records to Kafka in order, as fast as it takes them.

    Nothing is dropped: what the client's queue has no room for, and what Kafka refuses, waits
    here, and `congested` asks whoever makes records to wait too. All calls come from one
    thread.

    With a spool, Kafka is away once a record is `spool_after` seconds old without an
    acknowledgement, and until all such records have theirs. Then everything that is in memory is
    written to disk too, and what comes is written there alone. When Kafka is back, new records
    go to it at once, and beside them the spool's, oldest first, at `drain_rate` readings a second.
    """

    def __init__(
        self,
        topic: str,
        connect: Callable[[], Client],
        *,
        spool: Spool | None = None,
        spool_after: float = 1.0,
        drain_rate: int = 10_000,
        clock_ms: Callable[[], float] = lambda: time.time() * 1000,
    ):
        self._topic = topic
        self._connect = connect
        self._client = connect()
        self._spool = spool
        self._spool_after = spool_after
        self._drain = Allowance(drain_rate)
        self._away = False
        self._clock_ms = clock_ms
        self._waiting: deque[_Flight] = deque()
        self._flights: dict[_Flight, None] = {}  # oldest first
        self._alone = 0  # of these, records that are not on disk too, and their readings
        self._unacknowledged = 0
        self._acknowledged: list[Acknowledged] = []
        self._paused_until = 0.0
        self._broken = False
        self._log = logger(topic=topic)

    @property
    def congested(self) -> bool:
        """Whether there is no room for more records, neither on their way to Kafka nor on disk."""
        if self._spool is not None and self._away:
            return self._spool.full
        return bool(self._waiting)

    @property
    def away(self) -> bool:
        """Whether records go to disk alone, as Kafka does not acknowledge in time."""
        return self._away

    @property
    def queued_records(self) -> int:
        """Records in memory that are not acknowledged."""
        return len(self._flights)

    @property
    def pending_records(self) -> int:
        """Records that are not acknowledged, in memory or on disk."""
        return self._alone + (self._spool.records if self._spool is not None else 0)

    @property
    def pending_readings(self) -> int:
        """Readings in `pending_records`."""
        return self._unacknowledged + (self._spool.readings if self._spool is not None else 0)

    def detail(self) -> str:
        """What people are told while something is on disk; else ""."""
        spool = self._spool
        if spool is None or not spool.records:
            return ""
        state = "Kafka is away" if self._away else "Kafka is back"
        filled = f"{spool.bytes / 1e6:,.1f} MB of at most {spool.limit / 1e6:,.0f} MB"
        waits = ", full, the fleet waits" if self.congested else ""
        return f"{state}, {spool.records:,} records are spooled ({filled}{waits})"

    def send(self, records: Iterable[Record]) -> None:
        """Accepts records; never blocks, never refuses."""
        now = time.monotonic()
        for record in records:
            if self._away and self._spool is not None:
                if self._spool.append(record, handed_out=False) is None:
                    self._take(_Flight(record, now))
            else:
                self._take(_Flight(record, now))
        self._hand_over()

    def poll(self, timeout: float) -> None:
        """Serves reports until `timeout` seconds are over, and hands over what waits."""
        deadline = time.monotonic() + timeout
        left = timeout
        while True:
            self._client.poll(math.ceil(left * 1000) / 1000)  # it knows whole milliseconds only
            if self._broken:
                self._reconnect()
            if self._spool is not None:
                self._judge(self._spool)
            self._hand_over()
            if self._spool is not None and not self._away:
                self._empty(self._spool)
            left = deadline - time.monotonic()
            if left <= 0:
                return

    def take_acknowledged(self) -> list[Acknowledged]:
        """Returns what was acknowledged since the last call."""
        taken, self._acknowledged = self._acknowledged, []
        return taken

    def close(self) -> int:
        """Keeps on disk what is not acknowledged; returns the readings that cannot be kept."""
        if self._spool is not None:
            self._keep(self._spool)
            self._spool.close()
            self._spool = None
        return self._unacknowledged

    def _take(self, flight: _Flight) -> None:
        if flight.place is None:
            self._alone += 1
            self._unacknowledged += len(flight.record.readings)
        self._flights[flight] = None
        self._waiting.append(flight)

    def _judge(self, spool: Spool) -> None:
        """Finds out whether Kafka is away."""
        oldest = next(iter(self._flights), None)
        waits = 0.0 if oldest is None else time.monotonic() - oldest.since
        away = waits > self._spool_after
        if away != self._away:
            self._away = away
            if away:
                self._log.warning(
                    "Kafka does not acknowledge, spooling to disk",
                    oldest_seconds=round(waits, 2),
                    spool_limit_bytes=spool.limit,
                )
                self._keep(spool)
            else:
                self._log.info(
                    "Kafka acknowledges again", spooled_records=spool.records, bytes=spool.bytes
                )
        spool.sync()

    def _keep(self, spool: Spool) -> None:
        """Writes to disk what is in memory alone."""
        for flight in self._flights:
            if flight.place is None:
                flight.place = spool.append(flight.record, handed_out=True)
                if flight.place is None:
                    return
                self._alone -= 1
                self._unacknowledged -= len(flight.record.readings)

    def _empty(self, spool: Spool) -> None:
        """Hands over the spool's oldest records, as many as the rate allows now."""
        while spool.records and not self._waiting and self._drain.left():
            item = spool.next()
            if item is None:
                return
            place, record = item
            self._drain.spend(len(record.readings))
            self._take(_Flight(record, time.monotonic(), place))
            self._hand_over()

    def _hand_over(self) -> None:
        if self._waiting and time.monotonic() < self._paused_until:
            return
        while self._waiting:
            flight = self._waiting[0]
            record = flight.record
            try:
                self._client.produce(
                    self._topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=record.headers,
                    on_delivery=partial(self._settle, flight),
                )
            except BufferError:
                return
            except KafkaException as error:
                self._refused(error.args[0])
                return
            self._waiting.popleft()

    def _settle(self, flight: _Flight, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            del self._flights[flight]
            # First on disk, then in the ledger: a kill between them makes an acknowledgement
            # missing, never one that counts twice.
            if flight.place is None:
                self._alone -= 1
                self._unacknowledged -= len(flight.record.readings)
            elif self._spool is not None:
                self._spool.acknowledge(flight.place)
            self._acknowledged.append(Acknowledged(flight.record, self._clock_ms()))
            return
        # The same record, so the same event id: should Kafka have it all the same, the
        # consumer recognises it.
        self._waiting.append(flight)
        self._refused(error)

    def _refused(self, error: KafkaError) -> None:
        PRODUCER_FAILED.inc()
        if time.monotonic() >= self._paused_until:
            self._log.warning("delivery refused, trying again", error=str(error))
        self._paused_until = time.monotonic() + _PAUSE_S
        self._broken |= error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001

    def _reconnect(self) -> None:
        """Replaces a client that an idempotent producer's fatal error has ended."""
        self._client.purge()
        while len(self._flights) > len(self._waiting) and self._client.poll(1.0):
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
