"""Kafka: publishing events with full acknowledgement, and the lag of a group."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from pydantic import Field

from sensor_shared.contracts.events import SENSOR_DATA, Event, to_kafka
from sensor_shared.runtime.settings import Section


class KafkaSettings(Section):
    """Section KAFKA."""

    brokers: str = "127.0.0.1:9092"
    """host:port, several with commas between."""
    topic: str = SENSOR_DATA
    group: str = "sensor-consumer-group"
    delivery_timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds after which `EventPublisher.publish` gives up."""


class EventPublisher:
    """Publishes CloudEvents; `publish` returns when all in-sync replicas have the record."""

    def __init__(self, settings: KafkaSettings):
        self._timeout = settings.delivery_timeout
        self._producer = Producer(
            {
                "bootstrap.servers": settings.brokers,
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "snappy",
                "linger.ms": 0,
                "message.timeout.ms": int(settings.delivery_timeout * 1000),
            },
            logger=logging.getLogger("kafka"),
        )
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="kafka-publisher", daemon=True)
        self._poller.start()

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.2)

    async def publish(self, topic: str, event: Event) -> None:
        """Sends an event and waits for its acknowledgement.

        Raises:
            KafkaException: when it was not acknowledged in time; it may be there all the same.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(KafkaException(error))

        def report(error: KafkaError | None, _message: Message) -> None:
            loop.call_soon_threadsafe(settle, error)

        key, value, headers = to_kafka(event)
        try:
            self._producer.produce(topic, value, key, headers=[*headers], on_delivery=report)
        except BufferError as error:
            raise KafkaException(KafkaError(KafkaError._QUEUE_FULL)) from error  # noqa: SLF001
        await done

    async def close(self) -> None:
        """Waits for what is under way, at most the delivery timeout."""
        await asyncio.to_thread(self._producer.flush, self._timeout)
        self._stopping.set()
        await asyncio.to_thread(self._poller.join)


@dataclass(frozen=True, slots=True)
class Offsets:
    """Of one partition: the log's first record, its end, and what a group has committed."""

    low: int
    end: int
    committed: int | None


class GroupOffsets:
    """Reads what a consumer group has committed, without being a member of it.

    It asks by a consumer that never subscribes. The admin client could ask too, but librdkafka
    2.16 dereferences a null pointer when its coordinator is still loading, and the process is
    gone.
    """

    def __init__(self, brokers: str, group: str):
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": group,
                "enable.auto.commit": False,
                "log_level": 0,  # what goes wrong is raised
            }
        )

    def read(self, topics: Sequence[str], timeout: float = 5.0) -> dict[tuple[str, int], Offsets]:
        """Returns the offsets by topic and partition; blocks, so call it in a thread.

        Topics that do not exist are left out.

        Raises:
            KafkaException: when the cluster does not answer within `timeout` seconds.
        """
        known = self._consumer.list_topics(timeout=timeout).topics
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            if topic in known
            for number in known[topic].partitions
        ]
        if not partitions:
            return {}
        found = {}
        for tp in self._consumer.committed(partitions, timeout=timeout):
            if tp.error is not None:
                raise KafkaException(tp.error)
            low, end = self._consumer.get_watermark_offsets(tp, timeout=timeout)
            committed = tp.offset if tp.offset >= 0 else None
            found[tp.topic, tp.partition] = Offsets(low, end, committed)
        return found

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()


class GroupLag:
    """How far a consumer group is behind the end of a topic."""

    def __init__(self, brokers: str, group: str, topic: str):
        self._offsets = GroupOffsets(brokers, group)
        self._topic = topic

    def read(self, timeout: float = 5.0) -> dict[int, int]:
        """Returns the records not yet committed, by partition; blocks, so call it in a thread.

        A partition without a commit counts from its beginning, where such a group starts.

        Raises:
            KafkaException: when the cluster does not answer.
        """
        return {
            partition: max(0, offsets.end - max(offsets.committed or 0, offsets.low))
            for (_, partition), offsets in self._offsets.read([self._topic], timeout).items()
        }
