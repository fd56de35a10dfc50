"""AlertService: the gRPC contract on top of intake and desk."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import grpc
from redis.exceptions import RedisError

from sensor_alerts import answers, calls, places, requests
from sensor_alerts.calls import Context
from sensor_alerts.desk import Desk, UnknownAlertError
from sensor_alerts.domain.life import Outcome
from sensor_alerts.intake import Intake
from sensor_alerts.listing import Filter
from sensor_shared.adapters.alert_contract import stamp
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.errors import Retry
from sensor_shared.telemetry.logs import logger
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

_MAX_INT32: Final = 2**31 - 1


class AlertService(alert_pb2_grpc.AlertServiceServicer):
    """Answers INVALID_ARGUMENT with what is wrong, NOT_FOUND, UNAVAILABLE when a part is away.

    Args:
        intake: takes requests.
        desk: looks alerts up, and changes them for people.
        unhealthy: says what is missing; None: nothing.
        timeout: seconds that a call may take.
        now: the time, UTC.
    """

    def __init__(
        self,
        intake: Intake,
        desk: Desk,
        unhealthy: Callable[[], str | None],
        *,
        timeout: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._intake = intake
        self._desk = desk
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
            processed_at=stamp(accepted.processed_at),
        )

    async def GetAlertHistory(  # noqa: N802
        self, request: alert_pb2.AlertHistoryRequest, context: Context
    ) -> alert_pb2.AlertHistoryResponse:
        """Lists recorded alerts, newest first; both ends of the span belong to it."""
        async with self._answering(context):
            start, end = requests.span(request)
            chosen = Filter(
                device_id=request.device_id or None,
                start=start,
                end=end,
                min_severity=requests.severity_of_message(request.min_severity),
            )
            page = await self._desk.page(chosen, limit=calls.limit(request.limit))
        return alert_pb2.AlertHistoryResponse(
            alerts=[requests.entry(record) for record in page.records],
            total_count=min(page.total, _MAX_INT32),
        )

    async def ListAlerts(  # noqa: N802
        self, request: alert_pb2.ListAlertsRequest, context: Context
    ) -> alert_pb2.ListAlertsResponse:
        """Lists alerts as they are now, a page at a time."""
        async with self._answering(context):
            limit = calls.limit(request.limit)
            chosen, order = answers.chosen(request), answers.order(request)
            question = (chosen, order)
            after = places.read(request.page_token, question, "page_token")
            page = await self._desk.page(chosen, limit=limit, order=order, after=after)
            following = order.place(page.records[-1]).write(question) if page.more else ""
        return alert_pb2.ListAlertsResponse(
            alerts=[answers.alert(record) for record in page.records],
            total_count=min(page.total, _MAX_INT32),
            next_page_token=following,
        )

    async def GetAlert(  # noqa: N802
        self, request: alert_pb2.GetAlertRequest, context: Context
    ) -> alert_pb2.GetAlertResponse:
        """Returns one alert and its changes."""
        async with self._answering(context):
            story = await self._desk.story(request.alert_id)
        return alert_pb2.GetAlertResponse(
            alert=answers.alert(story.record),
            changes=[answers.change(change) for change in story.changes],
        )

    async def AcknowledgeAlert(  # noqa: N802
        self, request: alert_pb2.ChangeAlertRequest, context: Context
    ) -> alert_pb2.ChangeAlertResponse:
        """Notes that a user knows."""
        async with self._answering(context):
            answers.check(request)
            record = await self._desk.acknowledge(request.alert_id, request.user, request.note)
        return alert_pb2.ChangeAlertResponse(alert=answers.alert(record))

    async def ClearAlert(  # noqa: N802
        self, request: alert_pb2.ChangeAlertRequest, context: Context
    ) -> alert_pb2.ChangeAlertResponse:
        """Ends an alert by hand."""
        async with self._answering(context):
            answers.check(request)
            record = await self._desk.clear(request.alert_id, request.user, request.note)
        return alert_pb2.ChangeAlertResponse(alert=answers.alert(record))

    async def CommentAlert(  # noqa: N802
        self, request: alert_pb2.ChangeAlertRequest, context: Context
    ) -> alert_pb2.ChangeAlertResponse:
        """Adds a comment."""
        async with self._answering(context):
            answers.check(request, comment=True)
            record = await self._desk.comment(request.alert_id, request.user, request.note)
        return alert_pb2.ChangeAlertResponse(alert=answers.alert(record))

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
            timestamp=stamp(self._now()),
        )

    @asynccontextmanager
    async def _answering(self, context: Context) -> AsyncIterator[None]:
        """Turns errors into status codes."""
        async with calls.answering(context, self._timeout, self._log):
            try:
                yield
            except UnknownAlertError:
                await context.abort(grpc.StatusCode.NOT_FOUND, "there is no alert with this id")
            except (Retry, DatabaseAwayError, RedisError) as error:
                self._log.warning("call refused", reason=str(error))
                said = str(error) if isinstance(error, Retry) else "the history of alerts is away"
                await context.abort(grpc.StatusCode.UNAVAILABLE, said)


_MESSAGES: Final = {
    Outcome.OPENED: "recorded",
    Outcome.REOPENED: "reopened: alert {}",
    Outcome.PENDING: "pending: its rule asks for more than one reading",
    Outcome.JOINED: "deduplicated: part of alert {}",
    Outcome.REPEATED: "repeated: recorded before as alert {}",
}
