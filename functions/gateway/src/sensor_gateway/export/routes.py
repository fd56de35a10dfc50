"""The operation that exports readings."""

import time
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response, Security
from starlette.exceptions import HTTPException

from sensor_gateway.domain import LAST_MS, SpanError, span
from sensor_gateway.export.chunks import Chunks, Selection
from sensor_gateway.export.forms import MEDIA_TYPES, Name, form
from sensor_gateway.export.links import PATH, file_name, links
from sensor_gateway.export.position import FORM, Position, PositionError
from sensor_gateway.export.slots import Slots
from sensor_gateway.export.stream import ExportResponse, ExportStream
from sensor_gateway.filters import Devices, Regions, Types
from sensor_gateway.parameters import End, Metrics, Start, wanted
from sensor_gateway.watched import WatchedRoute
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses

_ANY_SPAN: Final = LAST_MS // 86_400_000 + 1
_CSV: Final = (
    "device_id,timestamp,temperature,humidity,pressure,status\n"
    '"weather_station_001534","2026-09-21T00:00:01.000Z",21.437,,1013.25,"active"\n'
)
_NDJSON: Final = (
    '{"device_id":"weather_station_001534","timestamp":"2026-09-21T00:00:01.000Z",'
    '"temperature":21.437,"humidity":null,"pressure":1013.25,"status":"active"}\n'
)
_TEXT: Final = {"type": "string"}
_FILE: Final = {
    "description": "The file, streamed. One that is not complete has no end: the connection is "
    "cut, and chunked transfer encoding tells the client so.",
    "headers": {
        "Content-Disposition": {"description": "its name", "schema": _TEXT},
        "Link": {
            "description": "`self`, with the span that was exported; `next`, with the place where "
            "this part ends, when there is more than `limit`",
            "schema": _TEXT,
        },
    },
    "content": {
        "text/csv": {"schema": _TEXT, "example": _CSV},
        "application/x-ndjson": {"schema": _TEXT, "example": _NDJSON},
        "application/vnd.apache.parquet": {
            "schema": {"type": "string", "contentMediaType": "application/vnd.apache.parquet"}
        },
    },
}


def export_routes(
    guard: Guard,
    chunks: Chunks,
    slots: Slots,
    *,
    chunk_rows: int,
    seconds: float,
    chunk_seconds: float,
) -> APIRouter:
    """Returns the export.

    Args:
        guard: of every operation.
        chunks: where the readings come from.
        slots: how many run at the same time.
        chunk_rows: readings that one export holds in memory.
        seconds: that one export may take.
        chunk_seconds: that a client may take for one chunk.
    """
    router = APIRouter(tags=["readings"], route_class=WatchedRoute)

    @router.get(
        PATH,
        summary="Export readings",
        response_class=Response,
        responses={200: _FILE, **responses(429)},
    )
    async def export_readings(
        *,
        claims: Annotated[Claims, Security(guard, scopes=[Action.READINGS_READ])],
        form_: Annotated[Name, Query(alias="format")] = "csv",
        start: Start = None,
        end: End = None,
        metric: Metrics = None,
        device: Devices,
        region: Regions,
        type_: Types,
        after: Annotated[
            str | None,
            Query(
                pattern=FORM,
                description="goes on behind this reading: `device_id,timestamp` of the last row "
                "that came whole",
                examples=["weather_station_001534,2026-09-21T00:00:01.000Z"],
            ),
        ] = None,
        limit: Annotated[
            int | None,
            Query(ge=1, le=10_000_000, description="readings of this part; default: all"),
        ] = None,
    ) -> Response:
        """Answers the readings of any span as a file, by device and time, each moment once.

        Every row is a place to go on from: after a cut, ask `Link`'s `self` with `after` and
        append what comes; CSV has no header then. A Parquet file is nothing without its end, so
        take a long span in parts: with `limit` each part is a file, and `Link` has the `next`.
        Readings that come late for what was exported already are not in later parts.
        """
        try:
            # Any span: what bounds an export is its time.
            asked = span(start, end, now_ms=int(time.time() * 1000), max_days=_ANY_SPAN)
            place = None if after is None else Position.read(after)
        except (SpanError, PositionError) as error:
            raise HTTPException(422, str(error)) from error
        selection = Selection(asked, wanted(metric), device, region, type_)
        give_back = await slots.take(claims.subject)
        try:
            following = None if limit is None else await chunks.end_of(selection, place, limit)
            stream = ExportStream(
                chunks,
                selection,
                form(form_, selection.metrics, resumed=place is not None),
                rows=chunk_rows,
                limit=limit,
            )
            parts = await stream.open(place)
        except BaseException:
            give_back()
            raise
        return ExportResponse(
            parts,
            media_type=MEDIA_TYPES[form_],
            headers={
                "Content-Disposition": f'attachment; filename="{file_name(asked, form_)}"',
                "Link": links(selection, form_, limit, following),
                "X-Data-Source": "clickhouse",
            },
            seconds=seconds,
            part_seconds=chunk_seconds,
            ended=give_back,
        )

    return router
