"""The operations that are about the service itself, and the tags of all."""

from typing import Literal

from fastapi import APIRouter, Response

from sensor_gateway.models import Health
from sensor_gateway.models import Parts as PartStates
from sensor_gateway.parts import Parts

TAGS = [
    {"name": "devices", "description": "The fleet and what it measures."},
    {"name": "readings", "description": "What many devices measured: files and aggregates."},
    {"name": "operation", "description": "What those who look after the system want to know."},
    {"name": "service", "description": "Health."},
]


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
                alerts=_state(parts.alerts),
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
