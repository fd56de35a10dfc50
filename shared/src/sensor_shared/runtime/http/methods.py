"""HEAD, OPTIONS and Allow, as RFC 9110 says, for every path of a service."""

import asyncio

from fastapi import FastAPI
from starlette.routing import Match

from sensor_shared.runtime.function import Message, Receive, Scope, Send

_ASKED = ("GET", "POST", "PUT", "PATCH", "DELETE")


def allowed(app: FastAPI, scope: Scope) -> str:
    """Returns the value of `Allow` for the path of a request; empty when there is no such path."""
    methods = [
        method
        for method in _ASKED
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
    if "GET" in methods:
        methods.insert(1, "HEAD")
    return ", ".join([*methods, "OPTIONS"]) if methods else ""


class HeadAnswer:
    """Makes a HEAD request of what a GET would answer, and ends it when the headers are known.

    A stream that was begun for it is told that the client has gone, so nothing is produced that
    nobody gets.

    Args:
        receive: of the request.
        send: of the request.
    """

    def __init__(self, receive: Receive, send: Send):
        self._receive = receive
        self._send = send
        self._begun = False
        self._answered = asyncio.Event()

    async def receive(self) -> Message:
        """Returns the empty body, then, when it is answered, that the client has gone."""
        if not self._begun:
            self._begun = True
            return await self._receive()
        await self._answered.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Sends the headers and no body."""
        if message["type"] == "http.response.start":
            await self._send(message)
            await self._send({"type": "http.response.body", "body": b""})
            self._answered.set()
