"""The REST operations about the fleet: its list, one device, and the latest metrics of one."""

from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query, Request, Response, Security
from starlette.exceptions import HTTPException

from sensor_gateway.devices import Device, Devices, Found
from sensor_gateway.fleet_parameters import (
    AGE_HEADER,
    ETAG_HEADERS,
    NOT_MODIFIED,
    SOURCE_HEADER,
    Cursor,
    IfNoneMatch,
    Regions,
    Search,
    Statuses,
    Types,
    filters,
)
from sensor_gateway.latest import Latest
from sensor_gateway.models import DevicePage, LatestMetrics
from sensor_gateway.parameters import DeviceId
from sensor_shared.contracts.access import Action
from sensor_shared.contracts.opaque import CursorError
from sensor_shared.runtime.http import etags
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses

_LINK_HEADER: dict[str, Any] = {
    "Link": {
        "description": 'The next page, with rel="next"; absent on the last one.',
        "schema": {"type": "string"},
    }
}
_encoder = msgspec.json.Encoder()


def fleet_routes(guard: Guard, devices: Devices, latest: Latest) -> APIRouter:
    """Returns the list of devices, one device, and its latest metrics."""
    router = APIRouter(prefix="/api/v1/devices", tags=["devices"])
    looking = Security(guard, scopes=[Action.DEVICES_READ])

    @router.get(
        "",
        summary="Devices",
        dependencies=[looking],
        response_model=DevicePage,
        responses={
            200: {"headers": SOURCE_HEADER | AGE_HEADER | ETAG_HEADERS | _LINK_HEADER},
            **NOT_MODIFIED,
        },
    )
    async def list_devices(  # noqa: PLR0917  (FastAPI passes them by name)
        request: Request,
        page: Annotated[int | None, Query(ge=1, le=1_000_000, description="from 1")] = None,
        page_size: Annotated[int, Query(ge=1, le=1_000)] = 100,
        cursor: Cursor = None,
        types: Types = None,
        regions: Regions = None,
        statuses: Statuses = None,
        search: Search = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Answers a page of the devices that fit, ordered by id; beyond the last it is empty.

        `next` leads through the list without gaps or repetitions while devices come and go;
        `page` jumps to any place. The list is at most a few seconds old: `Age` says how old.
        """
        if cursor is not None and page is not None:
            raise HTTPException(422, "`page` and `cursor` exclude each other")
        number = page or 1
        try:
            found = await devices.page(
                filters(types, regions, statuses, search), page_size, number=number, cursor=cursor
            )
        except CursorError as error:
            raise HTTPException(422, str(error)) from error
        body = _encoder.encode(
            {
                "items": found.items,
                "page": None if cursor else number,
                "page_size": page_size,
                "total": found.total,
                "next": found.next,
            }
        )
        headers = {"X-Data-Source": found.source, "Age": str(found.age_seconds)}
        if found.next is not None:
            headers["Link"] = _next_page(request, found)
        return etags.answer(body, if_none_match, headers)

    @router.get(
        "/{device_id}",
        summary="Device",
        dependencies=[looking],
        response_model=Device,
        responses={
            200: {"headers": SOURCE_HEADER | ETAG_HEADERS},
            **NOT_MODIFIED,
            **responses(404),
        },
    )
    async def one_device(device_id: DeviceId, if_none_match: IfNoneMatch = None) -> Response:
        """Answers what is known of a device, and how it stands."""
        found = await devices.one(device_id)
        if found is None:
            raise HTTPException(404, "no such device")
        item, source = found
        return etags.answer(_encoder.encode(item), if_none_match, {"X-Data-Source": source})

    @router.get(
        "/{device_id}/metrics",
        summary="Latest metrics",
        dependencies=[Security(guard, scopes=[Action.READINGS_READ])],
        response_model=LatestMetrics,
        responses={
            200: {"headers": SOURCE_HEADER | ETAG_HEADERS},
            **NOT_MODIFIED,
            **responses(404),
        },
    )
    async def latest_metrics(device_id: DeviceId, if_none_match: IfNoneMatch = None) -> Response:
        """Answers the reading with the newest time of its own, as it is stored."""
        found = await latest.read(device_id)
        if found is None:
            raise HTTPException(404, "no such device")
        document, source = found
        return etags.answer(document, if_none_match, {"X-Data-Source": source})

    return router


def _next_page(request: Request, found: Found) -> str:
    kept = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name not in {"page", "cursor"}
    ]
    query = urlencode([*kept, ("cursor", found.next or "")])
    return f'<{request.url.path}?{query}>; rel="next"'
