"""A function under func's Python middleware, which calls start, stop and health synchronously.

The middleware awaits only `handle`. It serves even when `start` has failed, and after a signal
it cuts requests off that last three seconds longer. Therefore start is a task of the loop that
serves, health says how it went, and SIGTERM is taken first here: see `Hosted`.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Final

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sensor_shared.runtime import garbage, health
from sensor_shared.runtime.function import AsgiApp, Function, Leaving, Receive, Scope, Send
from sensor_shared.runtime.responses import respond_problem
from sensor_shared.runtime.settings import SettingsError
from sensor_shared.telemetry.logs import configure, logger

_GRACE_SECONDS: Final = 10.0
_STARTING: Final = "starting"
_SERVING: Final = "serving"
_STOPPING: Final = "stopping"
_FAILED: Final = "start failed"


class Hosted:
    """What func's middleware takes for a function.

    SIGTERM: new requests are answered 503, those under way get ten seconds to end, the function
    is stopped, and only then the middleware's server is told to end, by the other signal that it
    ends on. SIGINT goes straight to that server and ends the process as a crash would.

    Args:
        function: written for an event loop; used by one.
        grace: seconds that requests under way may take after SIGTERM.
    """

    def __init__(self, function: Function, *, grace: float = _GRACE_SECONDS):
        self._function = function
        self._app = _behind_proxies(function)
        self._grace = grace
        self._state = _STARTING
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._starting: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._log = logger()

    def start(self, _environment: Mapping[str, str]) -> None:
        """Begins to start the function; called in the event loop that serves."""
        loop = asyncio.get_running_loop()
        self._starting = loop.create_task(self._start(), name="start")
        loop.add_signal_handler(signal.SIGTERM, self._terminate)

    def stop(self) -> None:
        """Called when the server has ended, which is too late for anything that waits."""
        if self._state == _SERVING:
            self._log.warning("ended without SIGTERM: the function was not stopped in good order")

    def alive(self) -> health.Health:
        """Not when start has failed, so that the container is started again."""
        return (False, _FAILED) if self._state == _FAILED else health.liveness(self._function)

    def ready(self) -> health.Health:
        """Only between a start that succeeded and SIGTERM."""
        if self._state == _SERVING:
            return health.readiness(self._function)
        return False, f"Unavailable: {self._state}"

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if self._state != _SERVING:
            await respond_problem(send, 503, self._state, headers={"Retry-After": "1"})
            return
        self._under_way += 1
        self._idle.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _start(self) -> None:
        try:
            await self._function.start()
        except Exception:  # noqa: BLE001  (whatever it is, the process is not to serve)
            self._log.exception(_FAILED)
            self._state = _FAILED
        else:
            garbage.settle()
            self._state = _SERVING
            self._log.info("serving")

    def _terminate(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name="end")

    async def _end(self) -> None:
        if self._starting is not None:
            await self._starting
        if self._state == _SERVING:
            self._state = _STOPPING
            await self._stop()
        signal.raise_signal(signal.SIGINT)

    async def _stop(self) -> None:
        if isinstance(self._function, Leaving):
            self._function.leave()
        try:
            async with asyncio.timeout(self._grace):
                await self._idle.wait()
        except TimeoutError:
            self._log.warning("requests cut off", under_way=self._under_way)
        try:
            await self._function.stop()
        except Exception:  # noqa: BLE001  (the process ends all the same)
            self._log.exception("stop failed")
        else:
            self._log.info("stopped")


def hosted(make: Callable[[], Function]) -> Callable[[], Hosted]:
    """Returns what a function's package exports as `new`; the middleware goes by that name.

    Args:
        make: makes the function from the process's environment.
    """

    def new() -> Hosted:
        try:
            function = make()
        except SettingsError as error:
            sys.exit(str(error))
        configure(function.logger, service=function.name)
        return Hosted(function)

    return new


def _behind_proxies(function: Function) -> AsgiApp:
    """The function, told the caller's address by those proxies that its settings trust."""
    trusted = function.server.trusted_proxies
    if not trusted:
        return function.handle
    app: AsgiApp = ProxyHeadersMiddleware(function.handle, trusted_hosts=trusted)  # type: ignore[arg-type, assignment]
    return app
