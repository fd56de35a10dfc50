"""Reports breaches of alert rules: to the alert service, or by topic when it does not take them."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import grpc
from confluent_kafka import KafkaException

from sensor_consumer.circuit import Circuit
from sensor_shared.adapters.grpc import alert_request
from sensor_shared.contracts import alerts
from sensor_shared.contracts.errors import Retry
from sensor_shared.contracts.events import SENSOR_ALERTS, Event
from sensor_shared.contracts.rules import Breach
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger
from twinup.alert.v1 import alert_pb2

SOURCE: Final = "/sensor/consumer"

_AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class AlertService(Protocol):
    """What reporting needs of `adapters.grpc.AlertClient`."""

    async def send(self, request: alert_pb2.AlertRequest) -> alert_pb2.AlertResponse:
        """Reports a breach; raises `grpc.aio.AioRpcError`."""


class Publisher(Protocol):
    """What reporting needs of `adapters.kafka.EventPublisher`."""

    async def publish(self, topic: str, event: Event) -> None:
        """Returns when the event is acknowledged; raises `KafkaException`."""


class BreachReporter:
    """Gets every breach accepted by the alert service or by the topic `sensor-alerts`.

    A breach has the same id each time, so that reporting it again is harmless.

    Args:
        service: asked first.
        publisher: of the topic.
        circuit: keeps a service that is away from costing each breach its timeout.
        concurrency: reports under way at the same time.
        topic: other than `sensor-alerts` in tests only.
    """

    def __init__(
        self,
        service: AlertService,
        publisher: Publisher,
        circuit: Circuit,
        *,
        concurrency: int,
        topic: str = SENSOR_ALERTS,
    ):
        self._service = service
        self._publisher = publisher
        self._circuit = circuit
        self._places = asyncio.Semaphore(concurrency)
        self._topic = topic
        self._log = logger(part="breaches")

    async def report(self, breaches: Sequence[Breach]) -> None:
        """Returns when all are accepted.

        Raises:
            Retry: when one was accepted by neither.
        """
        results = await asyncio.gather(*map(self._report, breaches), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _report(self, breach: Breach) -> None:
        async with self._places:
            if await self._by_grpc(breach):
                way = "grpc"
            else:
                await self._by_topic(breach)
                way = "topic"
        metrics.BREACHES.labels(breach.rule_id, way).inc()

    async def _by_grpc(self, breach: Breach) -> bool:
        if self._circuit.open:
            return False
        try:
            response = await self._service.send(alert_request(breach))
        except grpc.aio.AioRpcError as error:
            if error.code() in _AWAY:
                self._circuit.failed()
            self._log.warning(
                "alert service failed", code=error.code().name, detail=error.details()
            )
            return False
        if not response.success:
            self._log.warning("alert service refused", detail=response.message)
        return bool(response.success)

    async def _by_topic(self, breach: Breach) -> None:
        try:
            await self._publisher.publish(
                self._topic, alerts.encode(alerts.requested(breach), SOURCE)
            )
        except KafkaException as error:
            self._log.warning("topic failed", topic=self._topic, error=str(error))
            raise Retry("neither the alert service nor its topic takes alerts", after=1) from error
