"""A function under functions-framework's asyncio side, served by uvicorn.

functions-framework has no hooks for start, stop and health; they are added around it, at the
paths that `func` uses too.
"""

import asyncio
import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

import functions_framework.aio
import uvicorn

from sensor_shared.runtime import garbage, health
from sensor_shared.runtime.connection import limited
from sensor_shared.runtime.function import (
    SCOPE_KEY,
    AsgiApp,
    Direct,
    Function,
    Receive,
    Scope,
    Send,
)
from sensor_shared.runtime.responses import respond
from sensor_shared.runtime.server import Server
from sensor_shared.telemetry.logs import configure, logger

LIVENESS = "/health/liveness"
READINESS = "/health/readiness"
_FRAMEWORK_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"})
_FRAMEWORK_PATHS = frozenset({"/robots.txt", "/favicon.ico"})
_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 10


class FrameworkApp:
    """The ASGI application that uvicorn serves: life cycle and health around the framework."""

    def __init__(self, function: Function, framework: AsgiApp):
        self._function = function
        self._framework = framework
        self._direct = function.direct_prefix if isinstance(function, Direct) else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles the life cycle, health and events, hands all else to the framework."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] != "http":
            return
        elif scope["path"] == LIVENESS:
            await _tell(send, *health.liveness(self._function))
        elif scope["path"] == READINESS:
            await _tell(send, *health.readiness(self._function))
        elif (scope["method"] == "POST" and scope["path"] == "/") or (
            self._direct and scope["path"].startswith(self._direct)
        ):
            # An event, or a request of an API. The function decodes and answers it by itself,
            # errors included, and the framework's router, middlewares and request objects would
            # take a fifth of an event's CPU, and more than half of a quick read's.
            await self._function.handle(scope, receive, send)
        elif scope["method"] not in _FRAMEWORK_METHODS or scope["path"] in _FRAMEWORK_PATHS:
            # The framework would answer these itself, and not with a problem document.
            await self._function.handle(scope, receive, send)
        else:
            scope[SCOPE_KEY] = self._function
            await self._framework(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._function.start()
        garbage.settle()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._function.stop()
        await send({"type": "lifespan.shutdown.complete"})


async def _tell(send: Send, healthy: bool, word: str) -> None:
    content_type = "text/plain; charset=utf-8"
    await respond(send, 200 if healthy else 503, word.encode(), content_type=content_type)


def load(folder: Path) -> tuple[Function, AsgiApp]:
    """Loads the function in `folder` and wraps it by functions-framework.

    Args:
        folder: one of functions/*, with `function/__init__.py` in it.
    """
    source = folder / "function" / "__init__.py"
    function: Function = _load_module(source).make()
    framework = functions_framework.aio.create_asgi_app("handle", str(source), "http")
    return function, FrameworkApp(function, framework)


def _load_module(source: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("function", source)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(folder: Path) -> None:
    """Serves the function in `folder` until SIGTERM or SIGINT; ends requests under way first."""
    function, app = load(folder)
    configure(function.logger, service=function.name)
    config = uvicorn.Config(
        app,
        host=function.server.host,
        port=function.server.port,
        http=limited(function.server),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(function.server.trusted_proxies),
        forwarded_allow_ips=function.server.trusted_proxies,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    # uvicorn raises the signal once more when it has stopped in good order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logger().info("serving", host=function.server.host, port=function.server.port)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(Server(config, function).serve())
