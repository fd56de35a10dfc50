"""Delivers records as the dispatcher does, a bounded number at once."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from confluent_kafka import KafkaException

from sensor_dispatcher.cloudevents import to_http
from sensor_dispatcher.delivery import Failure, RetryPolicy, Sender
from sensor_dispatcher.manifests import KafkaSource
from sensor_dispatcher.records import Origin, Record, to_event, trace_headers
from sensor_shared.contracts.events import REPLAYED, new_id

T = TypeVar("T")
AT_ONCE = 16
"""A KafkaSource has 50 and more in flight: what is new keeps the right of way."""
_NAMED = 20


@dataclass(slots=True)
class Progress:
    """What became of the records so far."""

    events: int = 0
    """Taken from Kafka."""
    accepted: int = 0
    refused: int = 0
    retries: int = 0
    reasons: list[str] = field(default_factory=list)
    """Of the first that were refused: where the record lies, and the answer."""


class Replay:
    """Sends records to a function, each with the extension `replayed`.

    Args:
        source: the KafkaSource whose deliveries are repeated; its retries hold here too.
        namespace: where the source is deployed. With its name, a part of what identifies events
            that were plain records: it must be what it was.
        url: of the function.
        at_once: requests in flight at most.
    """

    def __init__(self, source: KafkaSource, namespace: str, url: str, *, at_once: int = AT_ONCE):
        extensions = {**source.spec.ce_overrides.extensions, REPLAYED: new_id()}
        self._origin = Origin(namespace, source.metadata.name, extensions)
        self._fixed: Mapping[str, str] = {"Prefer": "reply", "Kn-Namespace": namespace}
        self._sender = Sender(url, RetryPolicy.of(source.spec.delivery))
        self._at_once = at_once
        self.progress = Progress()

    async def run(self, batches: Iterator[Sequence[Record]]) -> None:
        """Returns when every record is accepted or, after all its retries, refused.

        Args:
            batches: of records; read in a thread, no faster than they are delivered.

        Raises:
            KafkaException: when they cannot be read; what was read until then is delivered.
        """
        room = asyncio.Semaphore(self._at_once)
        trouble: KafkaException | None = None
        try:
            async with asyncio.TaskGroup() as deliveries:
                try:
                    while (batch := await _in_thread(lambda: next(batches, None))) is not None:
                        for record in batch:
                            await room.acquire()
                            deliveries.create_task(self._deliver(record, room))
                except KafkaException as error:
                    trouble = error
        finally:
            self._sender.close()
        if trouble is not None:
            raise trouble

    async def _deliver(self, record: Record, room: asyncio.Semaphore) -> None:
        self.progress.events += 1
        try:
            event = to_event(record, self._origin)
            headers = {**to_http(event), **trace_headers(record), **self._fixed}
            failure = await self._sender.send(headers, event.data, self._retry)
        except Exception as error:  # noqa: BLE001  (one record must not end the others' replay)
            failure = Failure(self._sender.destination, None, repr(error).encode())
        finally:
            room.release()
        if failure is None:
            self.progress.accepted += 1
        else:
            self._refuse(record, failure)

    def _retry(self, _failure: Failure) -> None:
        self.progress.retries += 1

    def _refuse(self, record: Record, failure: Failure) -> None:
        self.progress.refused += 1
        if len(self.progress.reasons) < _NAMED:
            answer = failure.data[:200].decode("utf-8", errors="replace")
            status = "no answer" if failure.status is None else f"status {failure.status}"
            place = f"{record.topic}/{record.partition}/{record.offset}"
            self.progress.reasons.append(f"{place}: {status}: {answer}")


async def _in_thread(work: Callable[[], T]) -> T:
    """Runs in a thread; one that is cancelled waits for the thread, whose client is shared."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
