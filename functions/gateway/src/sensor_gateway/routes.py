"""The REST operations of the gateway."""

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response, Security
from starlette.exceptions import HTTPException

from sensor_gateway.domain import Span, SpanError, span
from sensor_gateway.fleet_parameters import SOURCE_HEADER
from sensor_gateway.models import Health, History
from sensor_gateway.models import Parts as PartStates
from sensor_gateway.parameters import DeviceId, Moment
from sensor_gateway.parts import Parts
from sensor_gateway.readings import Order, Readings
from sensor_shared.contracts.access import Action
from sensor_shared.contracts.events import rfc3339
from sensor_shared.contracts.readings import METRICS
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses

TAGS = [
    {"name": "devices", "description": "The fleet and what it measures."},
    {"name": "service", "description": "Health."},
]


def history_routes(guard: Guard, readings: Readings, *, max_span_days: int) -> APIRouter:
    """Returns the history."""
    router = APIRouter(prefix="/api/v1/devices", tags=["devices"])
    reading = Security(guard, scopes=[Action.READINGS_READ])

    @router.get(
        "/{device_id}/history",
        summary="History",
        dependencies=[reading],
        response_model=History,
        responses={200: {"headers": SOURCE_HEADER}, **responses(404)},
    )
    async def history(  # noqa: PLR0917  (FastAPI passes them by name)
        device_id: DeviceId,
        start: Annotated[
            Moment | None,
            Query(alias="from", description="included; default: a day before `to`"),
        ] = None,
        end: Annotated[
            Moment | None, Query(alias="to", description="excluded; default: now")
        ] = None,
        metric: Annotated[
            list[Literal["temperature", "humidity", "pressure"]] | None,
            Query(description="those wanted; default: all", max_length=len(METRICS)),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
        order: Order = "newest",
    ) -> Response:
        """Answers readings of a span, each moment once however often it was delivered."""
        now_ms = int(time.time() * 1000)
        try:
            asked = span(start, end, now_ms=now_ms, max_days=max_span_days)
        except SpanError as error:
            raise HTTPException(422, str(error)) from error
        items = await readings.history(
            device_id, asked, metrics=metric or METRICS, limit=limit + 1, order=order
        )
        if not items and not await readings.knows(device_id):
            raise HTTPException(404, "no such device")
        return _json(_history(device_id, asked, order, items, limit), "clickhouse")

    return router


def service_routes(parts: Parts) -> APIRouter:
    """Returns health, which is open."""
    router = APIRouter(tags=["service"])

    async def health(response: Response) -> Health:
        """Answers 200 while something can be served, be it degraded; else 503."""
        status: Literal["ok", "degraded", "unavailable"] = "unavailable"
        if parts.complete:
            status = "ok"
        elif parts.serving:
            status = "degraded"
        else:
            response.status_code = 503
        return Health(
            status=status,
            parts=PartStates(
                redis=_state(parts.redis),
                clickhouse=_state(parts.clickhouse),
                auth_keys=_state(parts.keys),
            ),
        )

    for path, shown in (("/api/v1/health", True), ("/health", False)):
        router.add_api_route(
            path,
            health,
            summary="Health",
            responses={503: {"model": Health}},
            include_in_schema=shown,
        )
    return router


def _state(up: bool) -> Literal["up", "down"]:
    return "up" if up else "down"


def _json(document: bytes, source: str) -> Response:
    return Response(document, media_type="application/json", headers={"X-Data-Source": source})


def _history(device_id: str, asked: Span, order: Order, items: list[bytes], limit: int) -> bytes:
    head = json.dumps(
        {
            "device_id": device_id,
            "from": _rfc3339(asked.start_ms),
            "to": _rfc3339(asked.end_ms),
            "order": order,
            "truncated": len(items) > limit,
        },
        separators=(",", ":"),
    )
    return b'%s,"items":[%s]}' % (head.removesuffix("}").encode(), b",".join(items[:limit]))


def _rfc3339(epoch_ms: int) -> str:
    return rfc3339(datetime.fromtimestamp(epoch_ms / 1000, UTC))
