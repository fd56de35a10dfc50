"""KafkaSink: writes events into a topic. Here, the dead letters."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from sensor_dispatcher.cloudevents import CloudEvent, to_record, to_structured_record
from sensor_dispatcher.delivery import Failure, dead_letter
from sensor_dispatcher.manifests import KafkaSink

_PAUSES = (1.0, 2.0, 5.0, 10.0)
"""Seconds between the tries of a dead letter; the last one for all that follow."""
_MAX_BYTES = 8 * 1024 * 1024
"""A dead letter is larger than its record was: only the topic may refuse it for its size."""

Sleep = Callable[[float], Awaitable[None]]


class DeadLetters:
    """Puts events with their failure into a KafkaSink's topic, and does not give up.

    Knative tries a dead letter like any event and then commits: the event is lost. Here it is
    tried until Kafka has it; its offset stays uncommitted so long, so that a restart finds it
    again.
    """

    def __init__(
        self,
        brokers: str,
        sink: KafkaSink,
        *,
        timeout: float = 10.0,
        sleep: Sleep = asyncio.sleep,
    ):
        self._topic = sink.spec.topic
        self._encode = to_record if sink.spec.content_mode == "binary" else to_structured_record
        self._sleep = sleep
        self._timeout = timeout
        self._log = structlog.get_logger(kafka_sink=sink.metadata.name, topic=self._topic)
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "snappy",
                "linger.ms": 0,
                "message.timeout.ms": int(timeout * 1000),
                "message.max.bytes": _MAX_BYTES,
            },
            logger=logging.getLogger("kafka"),
        )

    async def put(self, event: CloudEvent, failure: Failure, on_retry: Callable[[], None]) -> None:
        """Returns when all in-sync replicas have the dead letter."""
        letter = dead_letter(event, failure)
        tries = 0
        while (error := await asyncio.to_thread(self._write, letter)) is not None:
            self._log.error("dead letter not accepted, trying again", error=str(error), tries=tries)
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                # Without the answer's words it is hardly larger than its record was.
                letter = dead_letter(event, Failure(failure.destination, failure.status, b""))
            on_retry()
            await self._sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1

    def _write(self, letter: CloudEvent) -> KafkaError | None:
        """Writes and waits; in a thread of its own, because dead letters are rare."""
        errors: list[KafkaError | None] = []
        key, value, headers = self._encode(letter)
        try:
            self._producer.produce(
                self._topic,
                value,
                key,
                headers=[*headers],
                on_delivery=lambda error, _message: errors.append(error),
            )
        except (BufferError, KafkaException) as error:
            return _error(error)
        while not errors:
            self._producer.flush(0.5)
        return errors[0]

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.to_thread(self._producer.flush, self._timeout)


def _error(error: Exception) -> KafkaError:
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return error.args[0]
    return KafkaError(KafkaError._QUEUE_FULL, str(error))  # noqa: SLF001
