"""Makes a REST service: FastAPI with one form of errors and one complete OpenAPI document."""

import json
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from sensor_shared.runtime.http import etags, page, problems
from sensor_shared.runtime.http.document import completed
from sensor_shared.telemetry import metrics

_VERSION = "1.0.0"
_DOCUMENT_CACHING = "public, max-age=60"
"""The document changes with the service's version alone, and is the same for everybody."""


def rest_service(
    *, title: str, description: str, routers: Sequence[APIRouter], tags: Sequence[dict[str, str]]
) -> FastAPI:
    """Returns the service with its routes, /openapi.json, /docs to read it, and /metrics.

    /metrics is open, as in the original: it holds counts and durations, no names of users
    or devices. Where that is too much, the port is not made public.

    Args:
        title: of the OpenAPI document.
        description: Markdown, of the OpenAPI document.
        routers: whose operations either have a `Guard` or are open to everybody.
        tags: name and description of each group of operations.
    """
    app = FastAPI(
        title=title,
        description=description,
        version=_VERSION,
        openapi_tags=[dict(tag) for tag in tags],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    for router in routers:
        app.include_router(router)
    page.install(app)
    app.add_api_route("/metrics", _metrics, methods=["GET"], include_in_schema=False)
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(completed(_generated(app)))
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    encoded: list[bytes] = []

    async def openapi_document(request: Request) -> Response:
        if not encoded:
            encoded.append(json.dumps(app.openapi()).encode())
        given = request.headers.get("if-none-match")
        return etags.answer(encoded[0], given, {}, cache_control=_DOCUMENT_CACHING)

    app.add_api_route("/openapi.json", openapi_document, methods=["GET"], include_in_schema=False)
    return app


def _generated(app: FastAPI) -> dict[str, Any]:
    return get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
    )


async def _metrics() -> Response:
    body, content_type = metrics.exposition()
    return Response(body, headers={"content-type": content_type})
