"""GET /metrics, /health/liveness and /health/readiness of a process that serves nothing else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sensor_shared.runtime.settings import ServerSettings
from sensor_shared.telemetry.metrics import exposition

_TEXT = "text/plain; charset=utf-8"


@contextmanager
def serve(
    settings: ServerSettings,
    alive: Callable[[], bool],
    ready: Callable[[], bool],
    detail: Callable[[], str] = str,
) -> Iterator[int]:
    """Answers in a thread of its own while the context lasts; yields the port.

    Args:
        settings: the address.
        alive: the answer about liveness.
        ready: the answer about readiness.
        detail: what people are told with either of them; "" for nothing.

    Raises:
        OSError: when the port is taken; the message names the variable that changes it.
    """
    checks = {"/health/liveness": alive, "/health/readiness": ready}

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, *exposition())
            elif path in checks:
                well = checks[path]()
                told = ": ".join(filter(None, ("ok" if well else "not now", detail())))
                self._answer(200 if well else 503, f"{told}\n".encode(), _TEXT)
            else:
                self._answer(404, b"see /metrics, /health/liveness, /health/readiness\n", _TEXT)

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Scrapes are no news."""

    try:
        server = ThreadingHTTPServer((settings.host, settings.port), Handler)
    except OSError as error:
        where = f"{settings.host}:{settings.port} (TWINUP_SERVER_PORT): {error.strerror}"
        raise OSError(error.errno, where) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="endpoint", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
