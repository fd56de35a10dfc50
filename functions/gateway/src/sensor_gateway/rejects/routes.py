"""The operation that lists rejects."""

import time
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response, Security
from pydantic import Field
from starlette.exceptions import HTTPException

from sensor_gateway.domain import LAST_MS, SpanError, span
from sensor_gateway.filters import Devices
from sensor_gateway.fleet_parameters import SOURCE_HEADER
from sensor_gateway.parameters import End, Start
from sensor_gateway.rejects.cursor import RejectCursor
from sensor_gateway.rejects.models import RejectPage
from sensor_gateway.rejects.queries import Rejects, Wanted
from sensor_gateway.watched import WatchedRoute
from sensor_shared.contracts.access import Action
from sensor_shared.contracts.opaque import CursorError
from sensor_shared.runtime.http.guard import Guard

_Text = Annotated[str, Field(min_length=1, max_length=256)]
_ANY_SPAN: Final = LAST_MS // 86_400_000 + 1


def reject_routes(guard: Guard, rejects: Rejects) -> APIRouter:
    """Returns the list of rejects, which is for admins: it shows what producers sent."""
    router = APIRouter(prefix="/api/v1", tags=["operation"], route_class=WatchedRoute)

    @router.get(
        "/rejects",
        summary="Rejects",
        dependencies=[Security(guard, scopes=[Action.REJECTS_READ])],
        responses={200: {"headers": SOURCE_HEADER}},
    )
    async def list_rejects(
        *,
        response: Response,
        start: Start = None,
        end: End = None,
        reason: Annotated[list[_Text], Query(default_factory=list, max_length=20)],
        source: Annotated[
            list[_Text],
            Query(default_factory=list, max_length=20, description="of the event"),
        ],
        device: Devices,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        cursor: Annotated[
            str | None, Query(pattern=r"^[A-Za-z0-9_-]+$", description="`next` of the page before")
        ] = None,
    ) -> RejectPage:
        """Answers readings that broke a rule, by when they were received, the newest first."""
        try:
            asked = span(start, end, now_ms=int(time.time() * 1000), max_days=_ANY_SPAN)
            after = None if cursor is None else RejectCursor.read(cursor)
        except (SpanError, CursorError) as error:
            raise HTTPException(422, str(error)) from error
        items, following = await rejects.page(Wanted(asked, reason, source, device, limit, after))
        response.headers["X-Data-Source"] = "clickhouse"
        return RejectPage(items=items, next=None if following is None else following.write())

    return router
