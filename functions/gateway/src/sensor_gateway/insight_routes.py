"""The REST operations about analytics of a device, and statistics of the system."""

from fastapi import APIRouter, Response, Security
from starlette.exceptions import HTTPException

from sensor_gateway.analytics import Analytics
from sensor_gateway.devices import Devices
from sensor_gateway.fleet_parameters import (
    AGE_HEADER,
    ETAG_HEADERS,
    NOT_MODIFIED,
    SOURCE_HEADER,
    IfNoneMatch,
)
from sensor_gateway.insights import DeviceAnalytics, SystemStats
from sensor_gateway.parameters import DeviceId
from sensor_gateway.stats import Stats
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.access import Action
from sensor_shared.runtime.http import etags
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.problems import responses


def insight_routes(guard: Guard, devices: Devices, analytics: Analytics, stats: Stats) -> APIRouter:
    """Returns the analytics of a device and the statistics."""
    router = APIRouter(prefix="/api/v1")
    reading = Security(guard, scopes=[Action.READINGS_READ])
    headers = SOURCE_HEADER | AGE_HEADER

    @router.get(
        "/devices/{device_id}/analytics",
        summary="Analytics",
        tags=["devices"],
        dependencies=[reading],
        response_model=DeviceAnalytics,
        responses={200: {"headers": headers}, **responses(404)},
    )
    async def device_analytics(device_id: DeviceId) -> Response:
        """Answers the trends of a device, and its values over 5 and 15 minutes, 1 and 24 hours.

        Trends are those that the function analytics publishes, by the same formula. What there
        is not enough data for is null.
        """
        try:
            known = await devices.knows(device_id)
        except DatabaseAwayError:
            known = True  # Redis may know its trend
        if not known:
            raise HTTPException(404, "no such device")
        report = await analytics.of(device_id)
        return Response(
            report.body,
            media_type="application/json",
            headers={"X-Data-Source": report.source, "Age": str(report.age_seconds)},
        )

    @router.get(
        "/stats",
        summary="Statistics",
        tags=["service"],
        dependencies=[reading],
        response_model=SystemStats,
        responses={200: {"headers": headers | ETAG_HEADERS}, **NOT_MODIFIED},
    )
    async def system_stats(if_none_match: IfNoneMatch = None) -> Response:
        """Answers counts of devices, readings and rejects, at most some seconds old."""
        found = await stats.get()
        return etags.answer(
            found.body,
            if_none_match,
            {"X-Data-Source": found.source, "Age": str(found.age_seconds)},
        )

    return router
