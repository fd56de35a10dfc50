"""A TCP line to a real part that a test can cut, stall and mend, as if the part went away."""

import asyncio
import contextlib


class Line:
    """Listens on a port of its own and passes everything on to `host:port`."""

    def __init__(self, host: str, port: int):
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self.port = 0

    async def mend(self) -> None:
        """Listens; after `cut`, on the same port again. After `stall`, passes on what waits."""
        self._flows.set()
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stall(self) -> None:
        """Passes nothing on any more: who asks is connected and hears nothing."""
        self._flows.clear()

    async def cut(self) -> None:
        """Closes what is open and refuses new connections."""
        self._flows.set()
        if self._server is not None:
            server, self._server = self._server, None
            # A connection that was accepted in this very moment is not its server's yet: Python
            # 3.11 forgets it, open, when the server is closed before.
            for listening in server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await asyncio.sleep(0)
            server.close()
        for writer in self._open:
            writer.transport.abort()
        if self._passing:
            await asyncio.wait(self._passing)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            writer.transport.abort()  # accepted in the moment of the cut
            return
        # Known from the start: a connection that is still being made is cut as well.
        task = asyncio.current_task()
        if task is not None:
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)
        self._open.add(writer)
        try:
            there, back = await asyncio.open_connection(*self._target)
            self._open.add(back)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except OSError:
            pass  # the part itself is away
        finally:
            writer.transport.abort()
            self._open.discard(writer)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65_536):
                await self._flows.wait()
                target.write(chunk)
                await target.drain()
        target.close()
        with contextlib.suppress(OSError):
            await target.wait_closed()
        self._open.discard(target)
