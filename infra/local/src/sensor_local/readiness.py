"""How a process shows that it is ready: by its port, an answer on it, or a URL."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from sensor_local import web

Check = Callable[[], Awaitable[bool]]
"""Returns whether the process is ready; never raises for a process that is not."""

_ANSWER_SECONDS = 2.0


def port(number: int, *, send: bytes = b"", expect: bytes = b"") -> Check:
    """Ready when the port takes connections and answers `send` with a text that has `expect`."""

    async def check() -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(web.HOST, number)
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

    async def check() -> bool:
        try:
            status, _ = await web.get(number, path, _ANSWER_SECONDS)
        except OSError:
            return False
        return status == 200

    return check


async def at_once() -> bool:
    """Ready as soon as it runs."""
    return True
