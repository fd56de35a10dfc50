"""The REST operations about the latest values of many devices at once."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response, Security
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from sensor_gateway.devices import Devices
from sensor_gateway.fleet_parameters import (
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
from sensor_gateway.latest import Latest, Many
from sensor_gateway.models import LatestOfMany
from sensor_gateway.parameters import DEVICE_ID_PATTERN
from sensor_shared.contracts.access import Action
from sensor_shared.contracts.opaque import CursorError
from sensor_shared.runtime.http import etags
from sensor_shared.runtime.http.guard import Guard, GuardedRoute

MOST = 1_000
"""Devices of one answer."""
_MOST_IN_A_QUERY = 50

Id = Annotated[str, Field(pattern=DEVICE_ID_PATTERN, examples=["weather_station_001534"])]


class Wanted(BaseModel):
    """The devices whose latest readings are wanted."""

    model_config = ConfigDict(extra="forbid")

    device_ids: list[Id] = Field(min_length=1, max_length=MOST)


def latest_routes(guard: Guard, devices: Devices, latest: Latest) -> APIRouter:
    """Returns the latest values of devices that are named, and of those that fit a filter."""
    router = APIRouter(prefix="/api/v1/latest", tags=["devices"], route_class=GuardedRoute)
    reading = Security(guard, scopes=[Action.READINGS_READ])

    @router.get(
        "",
        summary="Latest metrics of many devices",
        dependencies=[reading],
        response_model=LatestOfMany,
        responses={200: {"headers": SOURCE_HEADER | ETAG_HEADERS}, **NOT_MODIFIED},
    )
    async def latest_of_some(  # noqa: PLR0917  (FastAPI passes them by name)
        device_id: Annotated[
            list[Id] | None,
            Query(description="these, instead of a filter", max_length=_MOST_IN_A_QUERY),
        ] = None,
        types: Types = None,
        regions: Regions = None,
        statuses: Statuses = None,
        search: Search = None,
        cursor: Cursor = None,
        page_size: Annotated[int, Query(ge=1, le=MOST)] = 100,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Answers the newest reading of each device that is named, or that fits the filters.

        With filters it is a page of the devices by id; `next` leads to the following one.
        """
        chosen = filters(types, regions, statuses, search)
        if device_id:
            if chosen.key() != filters(None, None, None, None).key() or cursor:
                raise HTTPException(422, "`device_id` excludes filters and `cursor`")
            ids, following = list(device_id), None
        else:
            try:
                ids, following = await devices.ids(chosen, page_size, cursor)
            except CursorError as error:
                raise HTTPException(422, str(error)) from error
        many = await latest.read_many(ids)
        return etags.answer(
            _document(many, following), if_none_match, {"X-Data-Source": many.source}
        )

    @router.post(
        "",
        summary="Latest metrics of named devices",
        dependencies=[reading],
        response_model=LatestOfMany,
        responses={200: {"headers": SOURCE_HEADER}},
    )
    async def latest_of_named(wanted: Wanted) -> Response:
        """Answers the newest reading of each device that the body names; it changes nothing."""
        many = await latest.read_many(wanted.device_ids)
        return Response(
            _document(many, None),
            media_type="application/json",
            headers={"X-Data-Source": many.source},
        )

    return router


def _document(many: Many, following: str | None) -> bytes:
    rest = msgspec.json.encode(
        {"missing": many.missing, "unanswered": many.unanswered, "next": following}
    )
    return b'{"items":[%s],%s' % (b",".join(many.documents), rest.removeprefix(b"{"))
