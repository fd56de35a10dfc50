"""uvicorn's HTTP connection with the limits that uvicorn does not have.

uvicorn ends a connection that is idle after an answer, and nothing else: a stranger may send the
head of a request as slowly, and as large, as he likes, and the body too when nobody reads it any
more. Here a head and a body must be complete in time, and a head must be small. What is refused is
answered with a problem document when nothing was answered yet, and the connection is closed.

On Knative the ingress and queue-proxy stand before the process and have limits of their own; this
is for a process that people reach directly, and for what such a proxy hands on.
"""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sensor_shared.runtime.responses import PROBLEM, problem
from sensor_shared.runtime.settings import ServerSettings

MAX_PATH_BYTES: Final = 8 * 1024
"""Path and query together; more is 414."""
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 100
"""More of either is 431."""
_LINGER_SECONDS: Final = 2.0
"""For what still comes when it was answered already: to close at once could lose the answer."""
_GRACE_SECONDS: Final = 2.0
"""What reads a body answers 408 by itself, with the request's id; this comes after it."""


class _TooMuch(Exception):  # noqa: N818  (it never leaves this module)
    """The head of a request is too large in one way; the parser turns it into its own error."""


class LimitedConnection(HttpToolsProtocol):
    """One connection; uvicorn makes them, from what `limited` returns."""

    head_seconds: ClassVar[float]
    body_seconds: ClassVar[float]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._refusal = HTTPStatus.BAD_REQUEST
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first head."""
        super().connection_made(transport)
        self._must_end_in(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends waiting."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, unless the head that it is in has become too large."""
        if self._refused or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
        super().data_received(data)
        idle = not self._in_head and not self._in_body
        if idle and self._deadline is None and self._silent and not self._refused:
            # Line ends between two requests have stopped uvicorn's own timer.
            self._must_end_in(self.head_seconds)

    def on_message_begin(self) -> None:
        """Begins to wait for the rest of a head."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._must_end_in(self.head_seconds)

    def on_url(self, url: bytes) -> None:
        """Takes a part of the path."""
        super().on_url(url)
        if len(self.url) > MAX_PATH_BYTES:
            self._refusal = HTTPStatus.REQUEST_URI_TOO_LONG
            raise _TooMuch

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header, or a trailer of a body."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise _TooMuch

    def on_headers_complete(self) -> None:
        """Begins to wait for the body."""
        size = sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise _TooMuch
        self._in_head, self._in_body = False, True
        self._must_end_in(self.body_seconds + _GRACE_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Ends waiting for the body."""
        self._in_body = False
        self._in_time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Goes on with the next request; the rest of a body gets little time."""
        super().on_response_complete()
        if self._in_body and not self.transport.is_closing():
            self._must_end_in(_LINGER_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answers what the parser refused; called by uvicorn."""
        detail = {
            HTTPStatus.REQUEST_URI_TOO_LONG: f"the path is longer than {MAX_PATH_BYTES} bytes",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"more than {MAX_HEADERS} headers, or "
            f"{MAX_HEAD_BYTES} bytes of them",
            HTTPStatus.REQUEST_TIMEOUT: "the request did not come in time",
        }.get(self._refusal, msg)
        if self._silent or self._unanswered:
            body = problem(self._refusal, detail)
            lines = [
                f"HTTP/1.1 {self._refusal.value} {self._refusal.phrase}",
                f"content-type: {PROBLEM}",
                f"content-length: {len(body)}",
                "cache-control: no-store",
                "x-content-type-options: nosniff",
                "connection: close",
            ]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._refused = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._must_end_in(_LINGER_SECONDS)

    @property
    def _silent(self) -> bool:
        """True when no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _unanswered(self) -> bool:
        """True when the request whose body comes has no answer yet, and none is due before."""
        return self._in_body and not self.cycle.response_started and not self.pipeline

    def _refuse(self, status: HTTPStatus) -> None:
        self._refusal = status
        self.send_400_response("")

    def _must_end_in(self, seconds: float) -> None:
        self._in_time()
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._refused or not (self._in_head or self._in_body):
            # Nothing was asked, as on what a browser opens in advance: an answer would be taken
            # for that of the first request.
            self.transport.close()
        elif not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)


def limited(server: ServerSettings) -> type[LimitedConnection]:
    """Returns the connections of a server with these settings."""

    class Connection(LimitedConnection):
        head_seconds = server.head_seconds
        body_seconds = server.body_seconds

    return Connection
