"""Command line: `python -m sensor_dispatcher EVENTING_DIR`."""

import argparse
import asyncio
import os
from pathlib import Path

import uvloop

from sensor_dispatcher.app import run
from sensor_dispatcher.settings import DispatcherProcess, require_sinks
from sensor_dispatcher.wiring import WiringError, read
from sensor_shared.runtime.settings import SettingsError, config_file
from sensor_shared.telemetry.logs import configure


def main() -> None:
    """Reads settings and wiring; what is wrong with them ends the process before it begins."""
    parser = argparse.ArgumentParser(prog="sensor_dispatcher", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the Knative Eventing objects")
    folder: Path = parser.parse_args().folder
    try:
        settings = DispatcherProcess.load(os.environ, config_file(os.environ, "dispatcher"))
        wiring = read(folder)
        require_sinks(settings.dispatcher, wiring.services)
    except (SettingsError, WiringError) as error:
        raise SystemExit(str(error)) from None
    configure(settings.logger, service="dispatcher")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, wiring))


if __name__ == "__main__":
    main()
