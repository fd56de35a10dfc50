"""A small GET for our own processes: one short connection, nothing to import."""

import asyncio
import contextlib

HOST = "127.0.0.1"
_LONGEST_ANSWER = 8 * 1024 * 1024


async def get(port: int, path: str, timeout: float = 2.0) -> tuple[int, bytes]:  # noqa: ASYNC109 - as in a client
    """Returns status and body of a GET on this machine.

    Raises:
        OSError: when there is no answer within `timeout` seconds, or one that is not HTTP.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(HOST, port, limit=_LONGEST_ANSWER)
            try:
                # HTTP/1.0: the answer comes in one piece and ends with the connection.
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {HOST}:{port}\r\n\r\n".encode())
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError as error:
        raise OSError(f"no answer from port {port} within {timeout:g} s") from error
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise OSError(f"port {port} does not speak HTTP")
    return int(words[1]), body
