"""Kafka: publishing events with full acknowledgement, and the lag of a group."""

import asyncio
import threading
from typing import Annotated, Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
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
            }
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


class GroupLag:
    """How far a consumer group is behind the end of a topic."""

    def __init__(self, brokers: str, group: str, topic: str):
        self._admin = AdminClient({"bootstrap.servers": brokers})
        self._group = group
        self._topic = topic

    def read(self, timeout: float = 5.0) -> dict[int, int]:
        """Returns the records not yet committed, by partition; blocks, so call it in a thread.

        A partition without a commit counts from its beginning, where such a group starts.

        Raises:
            KafkaException: when the cluster does not answer.
        """
        topics = self._admin.list_topics(self._topic, timeout=timeout).topics
        partitions = [TopicPartition(self._topic, p) for p in topics[self._topic].partitions]
        begins = self._offsets(partitions, OffsetSpec.earliest(), timeout)
        ends = self._offsets(partitions, OffsetSpec.latest(), timeout)
        request = [ConsumerGroupTopicPartitions(self._group, partitions)]
        futures: Any = self._admin.list_consumer_group_offsets(request, request_timeout=timeout)
        committed = futures[self._group].result().topic_partitions
        return {
            tp.partition: max(0, ends[tp.partition] - max(tp.offset, begins[tp.partition]))
            for tp in committed
        }

    def _offsets(
        self, partitions: list[TopicPartition], which: OffsetSpec, timeout: float
    ) -> dict[int, int]:
        futures = self._admin.list_offsets(
            dict.fromkeys(partitions, which), request_timeout=timeout
        )
        return {tp.partition: future.result().offset for tp, future in futures.items()}
