"""The REST operations on alerts."""

from typing import Annotated

from fastapi import APIRouter, Query, Security
from starlette.exceptions import HTTPException

from sensor_gateway.alerts.client import Alerts
from sensor_gateway.alerts.models import Alert, AlertHistory, AlertPage, Comment, Note
from sensor_gateway.alerts.parameters import (
    Acknowledged,
    AlertId,
    AlertOrder,
    Cursor,
    DeviceId,
    From,
    Limit,
    MinSeverity,
    Region,
    RuleId,
    State,
    To,
    Types,
    Wanted,
)
from sensor_gateway.domain import SpanError
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.runtime.http.guard import Guard, GuardedRoute
from sensor_shared.runtime.http.problems import responses

TAG = {"name": "alerts", "description": "What calls for somebody, and what was done about it."}


def alert_routes(guard: Guard, alerts: Alerts) -> APIRouter:
    """Returns the list of alerts, one alert, and what people do with it."""
    router = APIRouter(
        prefix="/api/v1/alerts", tags=["alerts"], route_class=GuardedRoute, responses=responses(502)
    )
    reading = Security(guard, scopes=[Action.ALERTS_READ])
    writing = Security(guard, scopes=[Action.ALERTS_WRITE])

    @router.get("", summary="Alerts", dependencies=[reading])
    async def list_alerts(  # noqa: PLR0917  (FastAPI passes them by name)
        device_id: DeviceId = None,
        region: Region = None,
        types: Types = None,
        severity: MinSeverity = None,
        state: State = None,
        acknowledged: Acknowledged = None,
        rule_id: RuleId = None,
        start: From = None,
        end: To = None,
        sort: Annotated[AlertOrder, Query(description="what comes first")] = AlertOrder.NEWEST,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> AlertPage:
        """Answers a page of the alerts that fit, as they are now.

        `next` leads through the list; it belongs to the filters and the order. Alerts that come
        meanwhile neither repeat nor hide another one. With `sort=severity` one whose severity
        changes meanwhile has another place in the list.
        """
        wanted = Wanted(
            device_id=device_id,
            region=region,
            types=types,
            severity=severity,
            state=state,
            acknowledged=acknowledged,
            rule_id=rule_id,
            start_ms=start,
            end_ms=end,
            order=sort,
            limit=limit,
            cursor=cursor,
        )
        try:
            return await alerts.page(wanted)
        except SpanError as error:
            raise HTTPException(422, str(error)) from error

    @router.get("/{alert_id}", summary="Alert", dependencies=[reading], responses=responses(404))
    async def one_alert(alert_id: AlertId) -> AlertHistory:
        """Answers an alert and what has happened to it, the oldest first."""
        return await alerts.one(alert_id)

    @router.post("/{alert_id}/acknowledge", summary="Acknowledge", responses=responses(404))
    async def acknowledge_alert(
        claims: Annotated[Claims, writing], alert_id: AlertId, given: Note
    ) -> Alert:
        """Notes that the caller knows of it; who did so first stays. It may be repeated."""
        return await alerts.acknowledge(alert_id, claims.subject, given.note)

    @router.post("/{alert_id}/clear", summary="Clear", responses=responses(404))
    async def clear_alert(
        claims: Annotated[Claims, writing], alert_id: AlertId, given: Note
    ) -> Alert:
        """Ends it by hand; one that is over stays as it is. A later breach opens it again."""
        return await alerts.clear(alert_id, claims.subject, given.note)

    @router.post("/{alert_id}/comments", summary="Comment", responses=responses(404))
    async def comment_alert(
        claims: Annotated[Claims, writing], alert_id: AlertId, given: Comment
    ) -> Alert:
        """Adds a comment to its changes; the same words of the same user are one comment."""
        return await alerts.comment(alert_id, claims.subject, given.note)

    return router
