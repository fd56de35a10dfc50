"""Shows how far the consumer group is behind; best effort, beside the events."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import KafkaException

from sensor_consumer.settings import LagSettings
from sensor_shared.adapters.kafka import GroupLag, KafkaSettings
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_TIMEOUT_SECONDS = 2.0


class LagSource(Protocol):
    """What this needs of `adapters.kafka.GroupLag`."""

    def read(self, timeout: float = 5.0) -> dict[int, int]:
        """Returns the lag by partition."""


async def watch(
    kafka: KafkaSettings,
    settings: LagSettings,
    *,
    connect: Callable[[str, str, str], LagSource] = GroupLag,
) -> None:
    """Sets the gauge again and again until it is cancelled."""
    log = logger(part="lag")
    source = await asyncio.to_thread(connect, kafka.brokers, kafka.group, kafka.topic)
    while True:
        try:
            lag = await asyncio.to_thread(source.read, _TIMEOUT_SECONDS)
        except (KafkaException, KeyError) as error:
            log.debug("lag unknown", error=str(error))
        else:
            for partition, records in lag.items():
                metrics.CONSUMER_LAG.labels(kafka.group, kafka.topic, partition).set(records)
        await asyncio.sleep(settings.interval)
