"""AlertService: the gRPC contract on top of intake and history."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import grpc

from sensor_alerts import requests
from sensor_alerts.domain.alert import InvalidRequestError
from sensor_alerts.episodes import Outcome
from sensor_alerts.history import History
from sensor_alerts.intake import Intake
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.telemetry.logs import logger
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1_000
_MAX_INT32: Final = 2**31 - 1

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class AlertService(alert_pb2_grpc.AlertServiceServicer):
    """Answers INVALID_ARGUMENT with what is wrong, UNAVAILABLE when the history is away.

    Args:
        intake: takes requests.
        history: is read from.
        unhealthy: says what is missing; None: nothing.
        timeout: seconds that a call may take.
        now: the time, UTC.
    """

    def __init__(
        self,
        intake: Intake,
        history: History,
        unhealthy: Callable[[], str | None],
        *,
        timeout: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._intake = intake
        self._history = history
        self._unhealthy = unhealthy
        self._timeout = timeout
        self._now = now
        self._log = logger(part="grpc")

    async def SendAlert(  # noqa: N802  (gRPC's name)
        self, request: alert_pb2.AlertRequest, context: Context
    ) -> alert_pb2.AlertResponse:
        """Records an alert; the answer names the alert that the request became part of."""
        async with self._answering(context):
            accepted = await self._intake.accept(requests.requested(request, self._now()), "grpc")
        return alert_pb2.AlertResponse(
            success=True,
            message=_MESSAGES[accepted.outcome].format(accepted.alert_id),
            alert_id=accepted.alert_id,
            processed_at=requests.stamp(accepted.processed_at),
        )

    async def GetAlertHistory(  # noqa: N802
        self, request: alert_pb2.AlertHistoryRequest, context: Context
    ) -> alert_pb2.AlertHistoryResponse:
        """Lists recorded alerts, newest first; both ends of the span belong to it."""
        async with self._answering(context):
            if not 0 <= request.limit <= MAX_LIMIT:
                raise InvalidRequestError(f"limit: must be from 1 to {MAX_LIMIT}, or 0 for 100")
            start, end = (
                requests.moment(request, "start_time"),
                requests.moment(request, "end_time"),
            )
            if start is not None and end is not None and start > end:
                raise InvalidRequestError("start_time: must not be after end_time")
            page = await self._history.page(
                device_id=request.device_id or None,
                start=start,
                end=end,
                min_severity=requests.severity_of_message(request.min_severity),
                limit=request.limit or DEFAULT_LIMIT,
            )
        return alert_pb2.AlertHistoryResponse(
            alerts=[requests.record(alert) for alert in page.alerts],
            total_count=min(page.total, _MAX_INT32),
        )

    async def HealthCheck(  # noqa: N802
        self,
        request: alert_pb2.HealthCheckRequest,  # noqa: ARG002  (gRPC's signature)
        context: Context,  # noqa: ARG002
    ) -> alert_pb2.HealthCheckResponse:
        """Says whether alerts can be taken now."""
        missing = self._unhealthy()
        return alert_pb2.HealthCheckResponse(
            healthy=missing is None,
            status=missing or "serving",
            timestamp=requests.stamp(self._now()),
        )

    @asynccontextmanager
    async def _answering(self, context: Context) -> AsyncIterator[None]:
        """Turns errors into status codes."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except InvalidRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (Retry, DatabaseAwayError) as error:
            self._log.warning("call refused", reason=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the history of alerts is away")
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"took longer than {self._timeout:g} s"
            )
        except grpc.aio.AbortError:
            raise
        except Exception:  # noqa: BLE001  (whatever was not foreseen is answered)
            self._log.exception("call failed")
            await context.abort(grpc.StatusCode.INTERNAL, "the service failed; its log says why")


_MESSAGES: Final = {
    Outcome.OPENED: "recorded",
    Outcome.JOINED: "deduplicated: part of alert {}",
    Outcome.REPEATED: "repeated: recorded before as alert {}",
}
