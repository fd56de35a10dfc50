"""The page at /docs that shows /openapi.json, whole in this package: nothing from elsewhere."""

from importlib.resources import files

from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PARTS = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
}


def install(app: FastAPI) -> None:
    """Adds the page, and `/` that leads to it."""
    folder = files("sensor_shared.runtime.http") / "docs"
    for path, (name, kind) in _PARTS.items():
        _add(app, path, (folder / name).read_bytes(), kind)

    async def start() -> Response:
        return RedirectResponse("/docs")

    app.add_api_route("/", start, methods=["GET"], include_in_schema=False)


def _add(app: FastAPI, path: str, body: bytes, kind: str) -> None:
    async def part() -> Response:
        return Response(body, headers={"content-type": kind, "content-security-policy": _POLICY})

    app.add_api_route(path, part, methods=["GET"], include_in_schema=False)
