"""Calls of the alert service, and what the caller of the REST API is told when one fails."""

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import grpc
from fastapi.exceptions import RequestValidationError
from google.protobuf.message import Message
from starlette.exceptions import HTTPException

from sensor_shared.adapters.grpc import AlertChannel, AlertTargetSettings
from sensor_shared.telemetry.logs import logger
from twinup.alert.v1 import alert_pb2

Answer = TypeVar("Answer")
Method = Callable[[AlertChannel], Callable[..., Awaitable[Answer]]]
"""Picks a method of the channel: `lambda channel: channel.alerts.GetAlert`."""

_AWAY: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
_FIELD: Final = re.compile(r"([a-z_]+(?:\.[a-z0-9_]+)*): (.+)", re.DOTALL)
_PARAMETERS: Final = {
    "page_token": ("query", "cursor"),
    "cursor": ("query", "cursor"),
    "limit": ("query", "limit"),
    "start_time": ("query", "from"),
    "end_time": ("query", "to"),
    "alert_id": ("path", "alert_id"),
    "silence_id": ("path", "silence_id"),
    "silence": ("body",),
}
"""What the REST API calls a field of the contract; the others are members of the body."""


class AlertCalls:
    """One channel to the alert service for the whole process.

    Args:
        settings: where it listens, the service token, and how long a call may take.
    """

    def __init__(self, settings: AlertTargetSettings):
        self._settings = settings
        self._channel: AlertChannel | None = None
        self._log = logger(part="alerts")

    def start(self) -> None:
        """Makes the channel; must be called in a running event loop."""
        self._channel = AlertChannel(self._settings)

    async def stop(self) -> None:
        """Closes the channel."""
        if self._channel is not None:
            await self._channel.close()

    async def ask(self, method: Method[Answer], request: Message, *, unknown: str = "") -> Answer:
        """Makes a call.

        Args:
            method: of which service.
            request: of the method.
            unknown: said of what the request names and is not there.

        Raises:
            HTTPException: 404, 409 when it is too late for it, 503 while the alert service does not
                answer, 502 when it fails in another way.
            RequestValidationError: naming what the alert service does not take.
        """
        try:
            return await self._call(method, request)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND and unknown:
                raise HTTPException(404, unknown) from error
            raise self._refusal(error) from error

    async def answers(self) -> None:
        """Returns when the alert service has said that it takes alerts.

        Raises:
            ConnectionError: when it does not answer, does not know our token, or cannot work now.
        """
        try:
            health = await self._call(
                lambda channel: channel.alerts.HealthCheck, alert_pb2.HealthCheckRequest()
            )
        except grpc.aio.AioRpcError as error:
            raise ConnectionError(error.code().name) from error
        if not health.healthy:
            raise ConnectionError(health.status)

    async def _call(self, method: Method[Answer], request: Message) -> Answer:
        if self._channel is None:
            raise RuntimeError("not started")
        return await self._channel.call(method(self._channel), request)

    def _refusal(self, error: grpc.aio.AioRpcError) -> Exception:
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return invalid(details)
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            return HTTPException(409, details)
        # What else it says is about its inside, or its way here.
        self._log.warning("alert service failed", code=code.name, detail=details)
        if code in _AWAY:
            return HTTPException(
                503, "the alert service does not answer now", headers={"Retry-After": "1"}
            )
        return HTTPException(502, "the alert service failed")


def invalid(details: str) -> RequestValidationError:
    """Returns the error that says where in the request the mistake is.

    Args:
        details: of INVALID_ARGUMENT: a field of the contract, a colon, and what is wrong with it.
    """
    found = _FIELD.fullmatch(details)
    if found is None:
        return RequestValidationError([{"loc": ("body",), "msg": details}])
    field = found[1]
    location = _PARAMETERS.get(field, ("body", field))
    return RequestValidationError([{"loc": location, "msg": found[2]}])
