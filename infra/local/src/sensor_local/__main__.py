"""`python -m sensor_local up|down|status|run`: the local system from the command line."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from sensor_local import background
from sensor_local.daemon import tell
from sensor_local.failure import StartError
from sensor_local.folder import RunFolder


def run_folder(environ: Mapping[str, str]) -> RunFolder:
    """Returns the run folder: TWINUP_RUN_DIR, by default `.run` here."""
    return RunFolder(Path(environ.get("TWINUP_RUN_DIR", ".run")))


def _up(run: RunFolder, only: list[str]) -> None:
    if not background.up(run, os.environ, tell, only):
        tell("it is running already; `make status` shows it")


def _down(run: RunFolder) -> None:
    if not background.down(run, tell):
        tell("nothing was running")


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start in the background, return when all is ready")
    up.add_argument("processes", nargs="*", help="only these")
    commands.add_parser("down", help="stop what runs in the background")
    options = parser.parse_args()
    run = run_folder(os.environ)
    try:
        match options.command:
            case "up":
                _up(run, options.processes)
            case "down":
                _down(run)
    except StartError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
