"""What surrounds every request: id, limit, headers, metrics, and the last resort of an error."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException

from sensor_shared.adapters.bucket import Taken
from sensor_shared.contracts.events import new_id
from sensor_shared.runtime.function import AsgiApp, Message, Receive, Scope, Send
from sensor_shared.runtime.http import limits
from sensor_shared.runtime.http.methods import HeadAnswer
from sensor_shared.runtime.http.settings import RestServerSettings
from sensor_shared.runtime.responses import respond_problem
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

_REQUEST_ID_NAME: Final = b"x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Set on each response that has not set them itself; answers are not kept by caches either."""


class Exchange:
    """Wraps a service's ASGI application.

    Takes `X-Request-ID` when it is harmless, else makes one; it is in the answer and on each
    line of the log. An error that nothing foresaw is logged once and answered by 500 without
    a word of it.

    Args:
        function: name in the metrics.
        app: whose route template, not the path asked for, labels the metrics.
        server: how large a body may be (beyond it is 413 as soon as somebody reads it), how long
            it may take (408), and whether the service is reached by TLS alone.
    """

    def __init__(self, function: str, app: AsgiApp, server: RestServerSettings):
        self._function = function
        self._app = app
        self._server = server
        defaults = {"cache-control": "no-store", **SECURITY_HEADERS}
        if server.hsts_seconds:
            defaults["strict-transport-security"] = f"max-age={server.hsts_seconds}"
        self._defaults = tuple((name.encode(), value.encode()) for name, value in defaults.items())
        self._log = logger(function=function)
        self._counters: dict[tuple[str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["method"] == "HEAD":
            answer = HeadAnswer(receive, send)
            # A copy: the server must go on to know that it is a HEAD.
            scope, receive, send = {**scope, "method": "GET"}, answer.receive, answer.send
        request_id = _request_id(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._set_headers(message, request_id, scope.get(limits.SCOPE_KEY))
            await send(message)

        try:
            await self._app(scope, _limited(scope, receive, self._server), sending)
        except Exception:  # noqa: BLE001  (whatever nothing else foresaw)
            self._log.exception("request failed", method=scope["method"], path=scope["path"])
            if not status:
                await respond_problem(sending, 500, "the service failed; its log says why")
        finally:
            route = getattr(scope.get("route"), "path", "other")
            counted, took = self._metrics(route, status)
            counted.inc()
            took.observe((time.perf_counter() - started) * 1000)
            structlog.contextvars.unbind_contextvars("request_id")

    def _set_headers(
        self, message: Message, request_id: str, taken: Sequence[Taken] | None
    ) -> None:
        given = message.get("headers", ())
        names = {name for name, _ in given}
        headers = [pair for pair in given if pair[0] != _REQUEST_ID_NAME]
        headers.append((_REQUEST_ID_NAME, request_id.encode()))
        if taken:
            headers += [(name.encode(), value.encode()) for name, value in limits.headers(taken)]
        headers += [pair for pair in self._defaults if pair[0] not in names]
        message["headers"] = headers

    def _metrics(self, route: str, status: int) -> tuple[Any, Any]:
        """Returns counter and histogram; to look them up by their labels takes as long as to count.

        There are as many as routes and statuses: nothing that a caller invents is a route.
        """
        found = self._counters.get((route, status))
        if found is None:
            found = self._counters[route, status] = (
                metrics.REQUESTS.labels(self._function, route, str(status)),
                metrics.REQUEST_DURATION.labels(self._function, route),
            )
        return found


def _header(scope: Scope, wanted: bytes) -> str:
    """Returns the first header of that name; "" when there is none."""
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value, "latin-1")
    return ""


def _request_id(scope: Scope) -> str:
    given = _header(scope, _REQUEST_ID_NAME)
    return given if _REQUEST_ID.fullmatch(given) else new_id()


def _limited(scope: Scope, receive: Receive, server: RestServerSettings) -> Receive:
    declared = _header(scope, b"content-length") or "0"
    limit = server.max_body_bytes
    too_large = declared.isdigit() and int(declared) > limit
    ends = asyncio.get_running_loop().time() + server.body_seconds
    size = 0
    complete = False

    async def limited() -> Message:
        nonlocal size, complete
        if complete:
            return await receive()  # it waits until the client has gone
        if not too_large:
            message = await _in_time(receive, ends)
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size <= limit:
                return message
        raise HTTPException(
            413, f"the body is larger than {limit} bytes", headers={"Connection": "close"}
        )

    return limited


async def _in_time(receive: Receive, ends: float) -> Message:
    try:
        async with asyncio.timeout_at(ends):
            return await receive()
    except TimeoutError as error:
        raise HTTPException(
            408, "the body did not come in time", headers={"Connection": "close"}
        ) from error
