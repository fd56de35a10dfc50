"""Which pages of other origins may call a service from a browser: those that the settings name."""

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from sensor_shared.runtime.function import AsgiApp
from sensor_shared.runtime.http import problems
from sensor_shared.runtime.http.settings import CorsSettings

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_TAKEN: Final = (
    *("Authorization", "Content-Type", "If-Match", "If-None-Match", "Last-Event-ID", "Range"),
    *("X-API-Key", "X-Request-ID"),
)
_SHOWN: Final = (
    *("Accept-Ranges", "Age", "Content-Disposition", "Content-Range", "ETag", "Link", "Location"),
    *("RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Data-Source"),
    "X-Request-ID",
)


class _Cors(CORSMiddleware):
    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        vary = {"Vary": answer.headers["vary"]}
        return problems.answer(400, bytes(answer.body).decode(), vary)


def cross_origin(app: AsgiApp, settings: CorsSettings) -> AsgiApp:
    """Returns the application as pages of the settings' origins may call it.

    A preflight needs no token, as browsers send none. Cookies and other credentials that a
    browser adds by itself are never asked for: a token is sent by the page.
    """
    if not (origins := settings.listed()):
        return app
    made: AsgiApp = _Cors(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=_TAKEN,
        expose_headers=_SHOWN,
        max_age=settings.max_age,
    )
    return made
