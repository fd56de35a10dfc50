"""The body of a request as it comes in: decompressed, counted, and told when it is cut off."""

from sensor_local.clickhouse import errors
from sensor_local.clickhouse.encoding import Codec
from sensor_local.clickhouse.errors import ServerError
from sensor_shared.runtime.function import Receive


class ClientGoneError(Exception):
    """The client has closed the connection before the end."""


class Body:
    """Chunks of a request's body.

    Args:
        receive: the ASGI channel.
        codec: undoes the Content-Encoding, None when there is none.
        limit: bytes allowed after decompression.

    Attributes:
        ended: whether the whole body has been read.
    """

    def __init__(self, receive: Receive, codec: Codec | None, limit: int) -> None:
        self.ended = False
        self._receive = receive
        self._codec = codec
        self._left = limit
        self._limit = limit

    async def read(self, enough: int) -> bytes:
        """Returns at least `enough` bytes, or what is left.

        Raises:
            ClientGoneError: the client went away.
            ServerError: the body is too large or cannot be decompressed.
        """
        chunks: list[bytes] = []
        size = 0
        while not self.ended and size < enough:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk: bytes = message.get("body", b"")
            self.ended = not message.get("more_body", False)
            if self._codec is not None:
                chunk = self._codec.feed(chunk)
                if self.ended:
                    chunk += self._codec.end()
            size += len(chunk)
            chunks.append(chunk)
        self._left -= size
        if self._left < 0:
            raise ServerError(
                errors.QUERY_IS_TOO_LARGE,
                f"The body is too large, at most {self._limit} bytes are taken. "
                "(QUERY_IS_TOO_LARGE)",
            )
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
