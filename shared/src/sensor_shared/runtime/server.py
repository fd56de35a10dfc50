"""The HTTP server of a function."""

import socket

import uvicorn

from sensor_shared.runtime.function import Function, Leaving


class Server(uvicorn.Server):
    """uvicorn, which tells the function that it ends before it waits for the requests under way."""

    def __init__(self, config: uvicorn.Config, function: Function):
        super().__init__(config)
        self._function = function

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends what goes on, then serves the rest to its end."""
        if isinstance(self._function, Leaving):
            self._function.leave()
        await super().shutdown(sockets)
