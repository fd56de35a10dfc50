"""`python -m sensor_local.clickhouse`: starts the server and stops it at SIGTERM or Ctrl-C."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
import uvicorn
from pydantic import SecretStr, ValidationError

from sensor_local.clickhouse.engine import DataFolderInUseError, Engine
from sensor_local.clickhouse.machine import Machine
from sensor_local.clickhouse.server import ClickHouseApp
from sensor_local.clickhouse.settings import EngineSettings, ServerSettings
from sensor_local.clickhouse.wire import limited_protocol
from sensor_shared.telemetry.logs import LoggerSettings, configure

PASSWORD_VARIABLE = "TWINUP_CLICKHOUSE_PASSWORD"  # noqa: S105 - the name, not the password
KEEP_ALIVE_SECONDS = 75

log = structlog.get_logger()


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs the server until it is told to stop; returns the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        settings = _settings(given, environ)
    except (ValidationError, OSError, ValueError) as error:
        parser.error(_explain(error))
    configure(LoggerSettings(level=given.log_level), service="clickhouse")
    # Times without a zone are UTC wherever this runs, as the tables have it.
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        engine = Engine(settings.data, settings.engine, settings.max_sessions, settings.backups)
    except DataFolderInUseError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever has started it by hand
        return 1
    machine = Machine(settings.data)
    machine.start()
    try:
        _serve(settings, engine)
    finally:
        machine.stop()
        engine.close()
    log.info("stopped")
    return 0


def _serve(settings: ServerSettings, engine: Engine) -> None:
    app = ClickHouseApp(settings, engine)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=limited_protocol(settings.max_head_bytes),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.stop_timeout,
        )
    )
    # uvicorn raises the signal again after it has stopped, which must not end the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    log.info("starting", data=str(settings.data), port=settings.port, version=engine.version)
    try:
        server.run()
    finally:
        app.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sensor_local.clickhouse",
        description="Serves the embedded ClickHouse engine by ClickHouse's HTTP interface.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--backups", type=Path, help="folder for BACKUP TO File('name')")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--user", default="default")
    parser.add_argument(
        "--password-file",
        type=Path,
        help=f"file with the password; without it {PASSWORD_VARIABLE} must be set",
    )
    parser.add_argument(
        "--stop-timeout",
        type=int,
        default=ServerSettings.model_fields["stop_timeout"].default,
        help="seconds that running queries may still take at the end",
    )
    parser.add_argument(
        "--max-memory",
        type=int,
        default=os.environ.get("TWINUP_ENGINE_MAX_MEMORY"),
        help="bytes that queries may take together (TWINUP_ENGINE_MAX_MEMORY)",
    )
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="info"
    )
    return parser


def _settings(given: argparse.Namespace, environ: Mapping[str, str]) -> ServerSettings:
    if given.password_file is not None:
        password = given.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    else:
        password = environ.get(PASSWORD_VARIABLE, "")
    if not password:
        raise ValueError(f"there is no password: give --password-file or set {PASSWORD_VARIABLE}")
    engine = (
        EngineSettings(max_server_memory_usage=given.max_memory)
        if given.max_memory is not None
        else EngineSettings()
    )
    return ServerSettings(
        data=given.data,
        backups=given.backups,
        host=given.host,
        port=given.port,
        user=given.user,
        password=SecretStr(password),
        engine=engine,
        stop_timeout=given.stop_timeout,
    )


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return str(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
