"""How a process shows that it is ready: by its port, an answer on it, or a URL."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

Check = Callable[[], Awaitable[bool]]
"""Returns whether the process is ready; never raises for a process that is not."""

_ANSWER_SECONDS = 2.0
_HOST = "127.0.0.1"


def port(number: int, *, send: bytes = b"", expect: bytes = b"") -> Check:
    """Ready when the port takes connections and answers `send` with a text that has `expect`."""

    async def check() -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(_HOST, number)
                try:
                    writer.write(send)
                    return expect in await reader.read(1024) if expect else True
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError):
            return False

    return check


def http(number: int, path: str) -> Check:
    """Ready when a GET of the path is answered with 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {_HOST}:{number}\r\nConnection: close\r\n\r\n"
    return port(number, send=request.encode(), expect=b" 200 ")


async def at_once() -> bool:
    """Ready as soon as it runs."""
    return True
