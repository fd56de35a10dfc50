"""A function as both runtimes see it: one object with start, stop, health and an ASGI application.

The package `function` of each folder exports it three times: `make` makes it, `new` makes it for
func's middleware (`sensor_shared.runtime.func`), and functions-framework calls `handle(request)`
(`sensor_shared.runtime.framework`). Neither has to be installed for the other.
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol, runtime_checkable

from sensor_shared.runtime.settings import ServerSettings
from sensor_shared.telemetry.logs import LoggerSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY = "twinup.function"
"""Under this key of the ASGI scope the server hands the function to `handle`."""


class Function(Protocol):
    """What a function package's `make()` returns.

    `start` must not fail because a part is down: it opens clients that connect by
    themselves, `ready` stays false until they have, and events are answered with `Retry`.
    """

    name: str
    server: ServerSettings
    logger: LoggerSettings

    async def start(self) -> None:
        """Opens the clients; called once, in the event loop that serves."""

    async def stop(self) -> None:
        """Closes the clients after the last request."""

    def alive(self) -> bool:
        """False when only a restart can help."""

    def ready(self) -> bool:
        """True when the function can do its work now."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The function as an ASGI application."""


@runtime_checkable
class Troubled(Protocol):
    """A function that can tell what is wrong although it does its work."""

    def troubles(self) -> Sequence[str]:
        """One sentence for each; shown by the readiness answer, whose status stays 200."""


@runtime_checkable
class Leaving(Protocol):
    """A function with answers that would go on for long after the server was told to end."""

    def leave(self) -> None:
        """Ends them now; called before the server waits for the requests under way."""


@runtime_checkable
class Direct(Protocol):
    """A function that takes requests under a path past the framework's router and middlewares."""

    direct_prefix: str
    """Where the paths begin, e.g. /api/."""


class _Passthrough:
    """What functions-framework takes for a response: the function's own ASGI application."""

    def __init__(self, app: AsgiApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def handle(request: Any) -> _Passthrough:
    """The target that functions-framework calls; leaves the answer to the function."""
    function: Function = request.scope[SCOPE_KEY]
    return _Passthrough(function.handle)
