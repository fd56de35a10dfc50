"""The alert service as a client: a channel with the service token on every call."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import grpc
from google.protobuf.message import Message
from pydantic import Field, SecretStr

from sensor_shared.adapters.alert_contract import alert_type_number, severity_number, stamp_ms
from sensor_shared.contracts.rules import Breach
from sensor_shared.runtime.settings import Section
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc, silence_pb2_grpc

Answer = TypeVar("Answer")
_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Of long notes a thousand, of which each character takes four bytes: more than gRPC's 4 MiB."""


class AlertTargetSettings(Section):
    """Section ALERTS of a client: where the alert service listens and what it asks for."""

    target: str = "127.0.0.1:50051"
    token: SecretStr = SecretStr("")
    timeout: Annotated[float, Field(gt=0)] = 1.0
    """Seconds that one call may take."""


class AlertChannel:
    """A channel to the alert service, with the service token and a deadline on every call.

    Made in the event loop that its calls are made in.

    Attributes:
        alerts: `twinup.alert.v1.AlertService`.
        silences: `twinup.alert.v1.SilenceService`.
    """

    def __init__(self, settings: AlertTargetSettings):
        self._timeout = settings.timeout
        self._metadata = (("authorization", f"Bearer {settings.token.get_secret_value()}"),)
        self._channel = grpc.aio.insecure_channel(
            settings.target,
            options=(
                ("grpc.max_reconnect_backoff_ms", 2_000),
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
            ),
        )
        self.alerts = alert_pb2_grpc.AlertServiceStub(self._channel)
        self.silences = silence_pb2_grpc.SilenceServiceStub(self._channel)

    async def call(self, method: Callable[..., Awaitable[Answer]], request: Message) -> Answer:
        """Makes a call of one of the services, e.g. `channel.alerts.GetAlert`.

        Raises:
            grpc.aio.AioRpcError: when it was refused, failed or took too long.
        """
        return await method(request, timeout=self._timeout, metadata=self._metadata)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close(grace=None)


class AlertClient:
    """Reports breaches to `twinup.alert.v1.AlertService`."""

    def __init__(self, settings: AlertTargetSettings):
        self._channel = AlertChannel(settings)

    async def send(self, request: alert_pb2.AlertRequest) -> alert_pb2.AlertResponse:
        """Reports a breach.

        Raises:
            grpc.aio.AioRpcError: when the call was refused, failed or took too long.
        """
        return await self._channel.call(self._channel.alerts.SendAlert, request)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()


def alert_request(breach: Breach) -> alert_pb2.AlertRequest:
    """Returns the request that reports a breach; its id is derived from what it is about."""
    request = alert_pb2.AlertRequest(
        alert_id=breach.alert_id,
        device_id=breach.device_id,
        alert_type=alert_type_number(breach.alert_type),
        severity=severity_number(breach.severity),
        message=breach.message,
        temperature=breach.value,
        threshold=breach.threshold,
        timestamp=stamp_ms(breach.timestamp_ms),
        metadata={"rule": breach.rule_id, "metric": breach.metric},
    )
    if breach.latitude is not None and breach.longitude is not None:
        request.location.latitude = breach.latitude
        request.location.longitude = breach.longitude
    if breach.region is not None:
        request.location.region = breach.region
    return request
