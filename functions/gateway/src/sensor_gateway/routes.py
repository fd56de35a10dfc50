"""The REST operations of the gateway."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response, Security
from starlette.exceptions import HTTPException

from sensor_gateway.devices import Devices
from sensor_gateway.latest import Latest
from sensor_gateway.models import DevicePage, Health, LatestMetrics
from sensor_gateway.models import Parts as PartStates
from sensor_gateway.parameters import DeviceId
from sensor_gateway.parts import Parts
from sensor_shared.contracts.access import Action
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses

TAGS = [
    {"name": "devices", "description": "The fleet and what it measures."},
    {"name": "readings", "description": "What many devices measured: files and aggregates."},
    {"name": "operation", "description": "What those who look after the system want to know."},
    {"name": "service", "description": "Health."},
]
SOURCE_HEADER = {
    "X-Data-Source": {
        "description": "which store answered",
        "schema": {"type": "string", "enum": ["redis", "clickhouse", "clickhouse, redis"]},
    }
}


def device_routes(guard: Guard, devices: Devices, latest: Latest) -> APIRouter:
    """Returns the list of devices and the latest metrics."""
    router = APIRouter(prefix="/api/v1/devices", tags=["devices"])
    reading = Security(guard, scopes=[Action.READINGS_READ])

    @router.get(
        "",
        summary="Devices",
        dependencies=[Security(guard, scopes=[Action.DEVICES_READ])],
        responses={200: {"headers": SOURCE_HEADER}},
    )
    async def list_devices(
        response: Response,
        page: Annotated[int, Query(ge=1, le=1_000_000, description="from 1")] = 1,
        page_size: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> DevicePage:
        """Answers a page of the fleet, ordered by id; beyond the last page it is empty."""
        found = await devices.page(page, page_size)
        source = "clickhouse, redis" if found.seen_by_redis else "clickhouse"
        response.headers["x-data-source"] = source
        return DevicePage(items=found.devices, page=page, page_size=page_size, total=found.total)

    @router.get(
        "/{device_id}/metrics",
        summary="Latest metrics",
        dependencies=[reading],
        response_model=LatestMetrics,
        responses={200: {"headers": SOURCE_HEADER}, **responses(404)},
    )
    async def latest_metrics(device_id: DeviceId) -> Response:
        """Answers the reading with the newest time of its own, as it is stored."""
        found = await latest.read(device_id)
        if found is None:
            raise HTTPException(404, "no such device")
        document, source = found
        return _json(document, source)

    return router


def service_routes(parts: Parts) -> APIRouter:
    """Returns health, which is open."""
    router = APIRouter(prefix="/api/v1", tags=["service"])

    @router.get("/health", summary="Health", responses={503: {"model": Health}})
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

    return router


def _state(up: bool) -> Literal["up", "down"]:
    return "up" if up else "down"


def _json(document: bytes, source: str) -> Response:
    return Response(document, media_type="application/json", headers={"X-Data-Source": source})
