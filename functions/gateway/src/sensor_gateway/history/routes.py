"""The operation that answers the history of a device."""

import time
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Response, Security
from starlette.exceptions import HTTPException

from sensor_gateway.domain import SpanError
from sensor_gateway.history import answer
from sensor_gateway.history.cursor import Order
from sensor_gateway.history.models import History
from sensor_gateway.history.queries import Histories
from sensor_gateway.history.question import Asked, QuestionError, question
from sensor_gateway.parameters import DeviceId, End, Metrics, Start, wanted
from sensor_gateway.rollups.resolution import Resolution
from sensor_gateway.watched import WatchedRoute
from sensor_shared.contracts.access import Action
from sensor_shared.contracts.opaque import CursorError
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses

_SOURCE = {
    "X-Data-Source": {
        "description": "which store answered",
        "schema": {"type": "string", "enum": ["clickhouse"]},
    }
}
_DEVICE = "weather_station_001534"
_EXAMPLES = {
    "page of minutes": {
        "value": {
            "device_id": _DEVICE,
            "from": "2026-09-21T00:00:00.000Z",
            "to": "2026-09-21T00:01:00.000Z",
            "resolution": "minute",
            "order": "newest",
            "minutes_behind": 0,
            "truncated": False,
            "next": None,
            "items": [
                {
                    "timestamp": "2026-09-21T00:00:00.000Z",
                    "readings": 60,
                    "temperature": {
                        "count": 59, "min": 21.1, "max": 21.9, "avg": 21.52, "last": 21.4,
                    },
                }
            ],
        }
    },
    "chart of readings": {
        "value": {
            "device_id": _DEVICE,
            "from": "2026-09-21T00:00:00.000Z",
            "to": "2026-09-21T01:00:00.000Z",
            "resolution": "raw",
            "order": "oldest",
            "minutes_behind": 0,
            "max_points": 500,
            "series": {
                "humidity": [{"timestamp": "2026-09-21T00:00:01.000Z", "value": 48.25}],
            },
        }
    },
}  # fmt: skip


def history_routes(
    guard: Guard, histories: Histories, *, max_days: Mapping[Resolution, int]
) -> APIRouter:
    """Returns the history of one device.

    Args:
        guard: of every operation.
        histories: what ClickHouse knows.
        max_days: how long the span of each resolution may be.
    """
    router = APIRouter(prefix="/api/v1/devices", tags=["devices"], route_class=WatchedRoute)

    @router.get(
        "/{device_id}/history",
        summary="History",
        dependencies=[Security(guard, scopes=[Action.READINGS_READ])],
        response_model=History,
        responses={
            200: {
                "headers": _SOURCE,
                "content": {"application/json": {"examples": _EXAMPLES}},
            },
            **responses(404),
        },
    )
    async def history(  # noqa: PLR0917  (FastAPI passes them by name)
        device_id: DeviceId,
        start: Start = None,
        end: End = None,
        metric: Metrics = None,
        resolution: Annotated[
            Asked | None,
            Query(
                description="what a point stands for; `auto`, which is a chart's default, takes "
                "the coarsest that fills `max_points`; a page's default is `raw`"
            ),
        ] = None,
        max_points: Annotated[
            int | None,
            Query(
                ge=3,
                le=10_000,
                description="makes it a chart: of each metric as many points at most, those that "
                "keep the shape of its line (LTTB)",
            ),
        ] = None,
        limit: Annotated[
            int | None, Query(ge=1, le=10_000, description="points of a page; default: 1,000")
        ] = None,
        order: Order = "newest",
        cursor: Annotated[
            str | None,
            Query(
                max_length=64,
                description="`next` of the page before; it says span, resolution and order",
            ),
        ] = None,
    ) -> Response:
        """Answers readings of a span, or their minutes, hours or days (UTC), as pages or a chart.

        Minutes, hours and days come whole: the span is widened to them. What the rollups do not
        hold yet is made of the readings themselves, so nothing that is stored is missing.
        """
        try:
            asked = question(
                start_ms=start,
                end_ms=end,
                resolution=resolution,
                order=order,
                limit=limit,
                points=max_points,
                cursor=cursor,
                now_ms=int(time.time() * 1000),
                max_days=max_days,
            )
        except (SpanError, QuestionError, CursorError) as error:
            raise HTTPException(422, str(error)) from error
        metrics = wanted(metric)
        behind = await histories.behind(asked)
        if asked.points is None:
            items = await histories.page(device_id, asked, metrics)
            empty, body = not items, answer.page(device_id, asked, items, behind)
        else:
            series = await histories.charts(device_id, asked, metrics)
            empty, body = not any(series), answer.chart(device_id, asked, metrics, series, behind)
        if empty and not await histories.knows(device_id):
            raise HTTPException(404, "no such device")
        return Response(
            body, media_type="application/json", headers={"X-Data-Source": "clickhouse"}
        )

    return router
