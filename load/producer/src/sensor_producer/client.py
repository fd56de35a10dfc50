"""What the publisher needs of a Kafka client."""

from collections.abc import Callable
from typing import Protocol

from confluent_kafka import KafkaError, Message

from sensor_producer.records import Headers

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
