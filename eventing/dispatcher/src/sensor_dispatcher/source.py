"""A KafkaSource at work: each record becomes one POST, and a dead letter when that fails."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from sensor_dispatcher.cloudevents import CloudEvent, to_http
from sensor_dispatcher.consumer import Batch, GroupConsumer
from sensor_dispatcher.delivery import Failure, Sender
from sensor_dispatcher.lag import Partition
from sensor_dispatcher.manifests import KafkaSource
from sensor_dispatcher.offsets import Prefix
from sensor_dispatcher.records import Origin, Record, to_event, trace_headers
from sensor_dispatcher.sink import DeadLetters
from sensor_dispatcher.tally import Tally


@dataclass(frozen=True, slots=True)
class Route:
    """Where a source's events go."""

    sender: Sender
    dead_letters: DeadLetters
    namespace: str


class Source:
    """Delivers the records of one KafkaSource, unordered: each one as soon as it was polled.

    Its consumers share the partitions; each of them has a window of its own.
    """

    def __init__(self, source: KafkaSource, brokers: str, route: Route):
        self.name = source.metadata.name
        self.spec = source.spec
        self.tally = Tally(self.name)
        self._route = route
        self._origin = Origin(route.namespace, self.name, source.spec.ce_overrides.extensions)
        self._fixed_headers = {"Prefer": "reply", "Kn-Namespace": route.namespace}
        self._log = structlog.get_logger(source=self.name)
        self._loop = asyncio.get_running_loop()
        self._deliveries: set[asyncio.Task[None]] = set()
        self.consumers = tuple(
            GroupConsumer(brokers, source.spec, f"{self.name}-{number}", self._hand_over)
            for number in range(source.spec.consumers)
        )

    def start(self) -> None:
        """Begins to consume."""
        for consumer in self.consumers:
            consumer.start()

    def alive(self) -> bool:
        """Tells whether every consumer still polls."""
        return all(consumer.is_alive() for consumer in self.consumers)

    def joined(self) -> bool:
        """Tells whether every consumer has got its (perhaps empty) part of the partitions."""
        return all(consumer.joined.is_set() for consumer in self.consumers)

    def positions(self) -> dict[Partition, int]:
        """Returns the first unfinished offset of each partition that had records."""
        return _merged(consumer.positions() for consumer in self.consumers)

    def committed(self) -> dict[Partition, int]:
        """Returns the offsets that the consumers have committed, by topic and partition."""
        return _merged(consumer.committed() for consumer in self.consumers)

    async def stop(self, grace_seconds: float) -> None:
        """Polls no more, waits for what is in flight, commits, leaves the group.

        What is not finished within the grace period is not committed: it is delivered again
        after the next start.
        """
        for consumer in self.consumers:
            consumer.stop_polling()
        deadline = self._loop.time() + grace_seconds
        while self._deliveries and self._loop.time() < deadline:
            await asyncio.wait(self._deliveries, timeout=deadline - self._loop.time())
        if self._deliveries:
            self._log.warning("left undelivered", count=len(self._deliveries))
        for delivery in self._deliveries:
            delivery.cancel()
        # Together: a group's rebalance ends only when all its members answer. None takes records.
        for consumer in self.consumers:
            consumer.begin_close()
        await asyncio.to_thread(self._join)
        self._route.sender.close()

    def _join(self) -> None:
        for consumer in self.consumers:
            consumer.join()

    def _hand_over(self, consumer: GroupConsumer, batch: Batch) -> None:
        self._loop.call_soon_threadsafe(self._dispatch, consumer, batch)

    def _dispatch(self, consumer: GroupConsumer, batch: Batch) -> None:
        self.tally.start(len(batch))
        for prefix, record in batch:
            delivery = self._loop.create_task(self._deliver(consumer, prefix, record))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, consumer: GroupConsumer, prefix: Prefix, record: Record) -> None:
        started = time.perf_counter()
        event = to_event(record, self._origin)
        failure = await self._send(event, record)
        if failure is None:
            self.tally.deliver(time.perf_counter() - started)
        else:
            self._log.error(
                "dead letter",
                event_id=event.attributes["id"],
                offset=f"{record.topic}/{record.partition}/{record.offset}",
                status=failure.status,
                reason=failure.data[:200].decode("utf-8", errors="replace"),
            )
            await self._route.dead_letters.put(event, failure, self.tally.retry)
            self.tally.bury()
        self.tally.end()
        consumer.finish(prefix, record.offset)

    async def _send(self, event: CloudEvent, record: Record) -> Failure | None:
        try:
            headers = {**to_http(event), **trace_headers(record), **self._fixed_headers}
            return await self._route.sender.send(headers, event.data, self._retry)
        except Exception as error:  # noqa: BLE001
            # Nobody foresaw it. Neither may it cost the record nor hold up its partition.
            self._log.exception("delivery failed")
            return Failure(self._route.sender.destination, None, repr(error).encode())

    def _retry(self, failure: Failure) -> None:
        self.tally.retry()
        self._log.warning(
            "retry",
            status=failure.status,
            reason=failure.data[:200].decode("utf-8", errors="replace"),
        )


def _merged(parts: Iterable[Mapping[Partition, int]]) -> dict[Partition, int]:
    return {partition: offset for part in parts for partition, offset in part.items()}
