"""HTTP/1.1 on the wire, with a bound on what a client may send before its request is understood."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def limited_protocol(max_head_bytes: int) -> type[asyncio.Protocol]:
    """Returns uvicorn's protocol that closes the connection when a request's head is too long.

    Args:
        max_head_bytes: request line and headers together.
    """

    class LimitedProtocol(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _got_further = False

        def data_received(self, data: bytes) -> None:
            self._got_further = False
            super().data_received(data)
            # Only what neither ended a head nor belonged to a body: bodies have their own limit.
            waiting = self._in_head and not self._got_further
            self._head_bytes = self._head_bytes + len(data) if waiting else 0
            if self._head_bytes > max_head_bytes and not self.transport.is_closing():
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                    b"content-length: 0\r\nconnection: close\r\n\r\n"
                )
                self.transport.close()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._got_further = True
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head = True
            self._got_further = True
            super().on_message_complete()

    return LimitedProtocol
