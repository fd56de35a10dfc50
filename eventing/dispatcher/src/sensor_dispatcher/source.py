"""A KafkaSource at work: each record becomes one POST, and a dead letter when that fails."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from sensor_dispatcher.cloudevents import CloudEvent, to_http
from sensor_dispatcher.consumer import Batch, GroupConsumer
from sensor_dispatcher.delivery import Failure, Sender
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
    """Delivers the records of one KafkaSource, unordered: each one as soon as it was polled."""

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
        self.consumer = GroupConsumer(brokers, source.spec, self.name, self._hand_over)

    def start(self) -> None:
        """Begins to consume."""
        self.consumer.start()

    async def stop(self, grace_seconds: float) -> None:
        """Polls no more, waits for what is in flight, commits, leaves the group.

        What is not finished within the grace period is not committed: it is delivered again
        after the next start.
        """
        self.consumer.stop_polling()
        deadline = self._loop.time() + grace_seconds
        while self._deliveries and self._loop.time() < deadline:
            await asyncio.wait(self._deliveries, timeout=deadline - self._loop.time())
        if self._deliveries:
            self._log.warning("left undelivered", count=len(self._deliveries))
        for delivery in self._deliveries:
            delivery.cancel()
        await asyncio.to_thread(self.consumer.close)
        self._route.sender.close()

    def _hand_over(self, batch: Batch) -> None:
        self._loop.call_soon_threadsafe(self._dispatch, batch)

    def _dispatch(self, batch: Batch) -> None:
        self.tally.start(len(batch))
        for prefix, record in batch:
            delivery = self._loop.create_task(self._deliver(prefix, record))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, prefix: Prefix, record: Record) -> None:
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
        self.consumer.finish(prefix, record.offset)

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
