"""The operation that answers aggregates of groups of devices."""

import json
import time
from collections.abc import Mapping
from typing import Annotated, Final, Literal, get_args

from fastapi import APIRouter, Query, Response, Security
from starlette.exceptions import HTTPException

from sensor_gateway.aggregates.models import AggregateTable, Function, Group
from sensor_gateway.aggregates.queries import Aggregates, Grouping
from sensor_gateway.domain import DAY_MS, Span, SpanError, span
from sensor_gateway.filters import Devices, Regions, Types
from sensor_gateway.history.models import RollupResolution
from sensor_gateway.parameters import End, Metrics, Start, wanted
from sensor_gateway.rollups.resolution import Resolution, aligned, check
from sensor_gateway.watched import WatchedRoute
from sensor_shared.contracts.access import Action
from sensor_shared.contracts.events import rfc3339_ms
from sensor_shared.runtime.http.guard import Guard

_MINUTES_UNTIL_MS: Final = 3 * 3_600_000
_HOURS_UNTIL_MS: Final = 14 * DAY_MS
Top = Literal[
    "temperature.count", "temperature.min", "temperature.max", "temperature.avg",
    "temperature.last", "humidity.count", "humidity.min", "humidity.max", "humidity.avg",
    "humidity.last", "pressure.count", "pressure.min", "pressure.max", "pressure.avg",
    "pressure.last",
]  # fmt: skip
_EXAMPLE: Final = {
    "from": "2026-09-21T00:00:00.000Z",
    "to": "2026-09-22T00:00:00.000Z",
    "resolution": "hour",
    "minutes_behind": 0,
    "truncated": False,
    "items": [
        {
            "region": "north",
            "devices": 2_000,
            "readings": 172_800_000,
            "temperature": {"count": 172_799_950, "min": -3.25, "max": 41.5, "avg": 18.02},
        }
    ],
}


def aggregate_routes(
    guard: Guard, aggregates: Aggregates, *, max_days: Mapping[Resolution, int]
) -> APIRouter:
    """Returns the aggregates.

    Args:
        guard: of every operation.
        aggregates: what ClickHouse knows.
        max_days: how long the span of each resolution may be.
    """
    router = APIRouter(prefix="/api/v1", tags=["readings"], route_class=WatchedRoute)

    @router.get(
        "/aggregates",
        summary="Aggregates of groups",
        dependencies=[Security(guard, scopes=[Action.READINGS_READ])],
        response_model=AggregateTable,
        responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
    )
    async def aggregate(
        *,
        by: Annotated[
            list[Group] | None,
            Query(max_length=3, description="what makes a group; default: all devices are one"),
        ] = None,
        start: Start = None,
        end: End = None,
        metric: Metrics = None,
        function: Annotated[
            list[Function] | None,
            Query(max_length=5, description="of each metric; default: count, min, max, avg"),
        ] = None,
        resolution: Annotated[
            RollupResolution | None,
            Query(
                description="of the rollups that are joined, to whose periods (UTC) the span is "
                "widened; default: minutes up to 3 hours, hours up to 14 days, then days"
            ),
        ] = None,
        periods: Annotated[
            bool, Query(description="a row for each minute, hour or day instead of the whole span")
        ] = False,
        top: Annotated[
            Top | None,
            Query(description="the largest of these come first; default: by group and time"),
        ] = None,
        device: Devices,
        region: Regions,
        type_: Types,
        limit: Annotated[int, Query(ge=1, le=10_000, description="rows")] = 1_000,
    ) -> Response:
        """Answers what groups of devices measured, from the rollups.

        Averages are of all values, not of averages. What the rollups do not hold yet is made of
        the readings themselves.
        """
        try:
            asked = span(
                start, end, now_ms=int(time.time() * 1000), max_days=max(max_days.values())
            )
            chosen = Resolution(resolution) if resolution else _resolution(asked)
            check(asked, chosen, max_days)
        except SpanError as error:
            raise HTTPException(422, str(error)) from error
        whole = aligned(asked, chosen)
        items, behind = await aggregates.table(
            Grouping(
                whole,
                chosen,
                [group for group in get_args(Group) if group in (by or ())],
                periods,
                wanted(metric),
                [one for one in get_args(Function) if one in (function or _USUAL)],
                _top(top),
                limit,
                device,
                region,
                type_,
            )
        )
        head = json.dumps(
            {
                "from": rfc3339_ms(whole.start_ms),
                "to": rfc3339_ms(whole.end_ms),
                "resolution": chosen,
                "minutes_behind": behind,
                "truncated": len(items) > limit,
            },
            separators=(",", ":"),
        )
        body = b'%s,"items":[%s]}' % (head.removesuffix("}").encode(), b",".join(items[:limit]))
        return Response(
            body, media_type="application/json", headers={"X-Data-Source": "clickhouse"}
        )

    return router


_USUAL: Final[tuple[Function, ...]] = ("count", "min", "max", "avg")


def _resolution(asked: Span) -> Resolution:
    length = asked.end_ms - asked.start_ms
    if length <= _MINUTES_UNTIL_MS:
        return Resolution.MINUTE
    return Resolution.HOUR if length <= _HOURS_UNTIL_MS else Resolution.DAY


def _top(text: Top | None) -> tuple[str, Function] | None:
    if text is None:
        return None
    metric, _, name = text.partition(".")
    return metric, next(one for one in get_args(Function) if one == name)
