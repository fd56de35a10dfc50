"""The supervisor as a process of its own: `python -m sensor_local.daemon` (see `make up`)."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_local.process import Started
from sensor_local.session import AlreadyRunning, Session

RUNNING_ALREADY = 3
"""Exit status when another supervisor has the folder."""


def tell(line: str) -> None:
    """Writes one line to standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def supervise(session: Session, when_ready: Callable[[], None] = lambda: None) -> int:
    """Runs a session until SIGTERM, SIGINT or SIGHUP; returns the exit status."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, session.interrupt)
    try:
        await session.serve(when_ready)
    except AlreadyRunning:
        return RUNNING_ALREADY
    except StartError as error:
        tell(str(error))
        return 1
    return 0


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_local.daemon", description=__doc__)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--owner", type=int, help="stop when this process ends")
    parser.add_argument("processes", nargs="*")
    options = parser.parse_args()
    owner = None
    if options.owner is not None:
        owner = Started.of(options.owner) or Started(options.owner, 0.0)
    session = Session(
        RunFolder(Path(options.run_dir)), os.environ, options.processes, tell=tell, owner=owner
    )
    sys.exit(asyncio.run(supervise(session)))


if __name__ == "__main__":
    main()
