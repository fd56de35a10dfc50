"""The local system from the command line: `python -m sensor_local up|down|status|run|…`."""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from sensor_local import background, foreground, health, view
from sensor_local.audit.command import audit_system
from sensor_local.daemon import tell
from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_local.usage import UsageMeter

_SAMPLE_SECONDS = 0.5
_NOT_RUNNING = 1


def run_folder(environ: Mapping[str, str]) -> RunFolder:
    """Returns the run folder: TWINUP_RUN_DIR, by default `.run` here."""
    return RunFolder(Path(environ.get("TWINUP_RUN_DIR", ".run")))


def _up(run: RunFolder, only: list[str]) -> int:
    if not background.up(run, os.environ, tell, only):
        tell("it is running already; `make status` shows it")
        return 0
    for hint in view.how_to_log_in(run.endpoints or {}, run.path / "admin-password"):
        tell(hint)
    return 0


def _down(run: RunFolder) -> int:
    if not background.down(run, tell):
        tell("nothing was running")
    return 0


def _status(run: RunFolder) -> int:
    document = run.processes if run.is_supervised() else None
    if document is None:
        tell("not running")
        return _NOT_RUNNING
    meter = UsageMeter()
    running = [one for process in document["processes"] if (one := view.started(process))]
    meter.sample(running)
    time.sleep(_SAMPLE_SECONDS)
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(view.processes(document["processes"], meter.sample(running)))
    return 0


def _health(run: RunFolder) -> int:
    endpoints = run.endpoints
    if endpoints is None:
        tell("not running")
        return _NOT_RUNNING
    well = asyncio.run(health.report(endpoints, tell))
    return 0 if well else 1


def _run(run: RunFolder, only: list[str]) -> int:
    return asyncio.run(foreground.run(run, os.environ, only, Console()))


def _clean(run: RunFolder) -> int:
    if run.is_supervised():
        raise StartError("it is running; `make down` first")
    background.down(run, tell)
    shutil.rmtree(run.path, ignore_errors=True)
    return 0


_COMMANDS: Mapping[str, Callable[[RunFolder], int]] = {
    "down": _down,
    "status": _status,
    "health": _health,
    "clean": _clean,
}


def main() -> int:
    """Command line entry; returns the exit status."""
    parser = argparse.ArgumentParser(prog="sensor_local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start in the background, return when all is ready")
    commands.add_parser("down", help="stop what runs in the background")
    commands.add_parser("status", help="show the processes; status 1 when nothing runs")
    commands.add_parser("health", help="ask every service; status 1 when one is not well")
    in_front = commands.add_parser("run", help="run with a live view, until Ctrl-C")
    for command in (up, in_front):
        command.add_argument("processes", nargs="*", help="only these")
    account = commands.add_parser("audit", help="account for all readings; status 1 for a loss")
    account.add_argument("--json", action="store_true", help="one JSON object")
    account.add_argument("--all", action="store_true", help="of earlier runs in the ledger too")
    commands.add_parser("clean", help="remove the run folder")
    options = parser.parse_args()
    run = run_folder(os.environ)
    try:
        if options.command == "up":
            return _up(run, options.processes)
        if options.command == "run":
            return _run(run, options.processes)
        if options.command == "audit":
            return audit_system(run, as_json=options.json, everything=options.all)
        return _COMMANDS[options.command](run)
    except StartError as error:
        tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
