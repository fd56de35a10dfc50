"""Stops the work for a client that has gone away: nobody would read the answer."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

CLIENT_GONE = 499
"""What the metrics count; the client does not see it any more."""


class WatchedRoute(APIRoute):
    """A route without a body whose handler is cancelled as soon as the client has gone.

    Cancelling cuts the connection of its query, which ends the query in ClickHouse
    (`cancel_http_readonly_queries_on_client_close`).
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns FastAPI's handler, watched."""
        handle = super().get_route_handler()

        async def watched(request: Request) -> Response:
            work = asyncio.ensure_future(handle(request))
            gone = asyncio.ensure_future(_disconnected(request))
            try:
                await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    return work.result()
                return Response(status_code=CLIENT_GONE)
            finally:
                for task in (work, gone):
                    task.cancel()
                    with contextlib.suppress(BaseException):
                        await task

        return watched


async def _disconnected(request: Request) -> None:
    """Returns when the client has gone.

    A body that is too large or too slow is no matter of a route that reads none: the answer comes
    as it would without that body, and only then the client's going is not seen.
    """
    try:
        while (await request.receive())["type"] != "http.disconnect":
            pass
    except HTTPException:
        await asyncio.get_running_loop().create_future()
