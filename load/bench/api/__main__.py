"""`python -m load.bench.api`: measures the gateway alone, without the rest of `make bench`."""

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from load.bench.api import marks, scenarios
from load.bench.flow.bed import BenchError
from sensor_local.failure import StartError


def main() -> int:
    """Command line entry; the exit status says whether it ran, not whether marks are met."""
    parser = argparse.ArgumentParser(prog="api", description=__doc__)
    parser.add_argument("--seconds", type=float, default=scenarios.SECONDS, help="of each window")
    parser.add_argument("--only", nargs="+", choices=scenarios.NAMES, default=scenarios.NAMES)
    parser.add_argument("--output", type=Path, help="the results as JSON")
    options = parser.parse_args()
    # As Ctrl-C: everything that was started is stopped on the way out.
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(width=None if sys.stdout.isatty() else 110)
    began = time.monotonic()

    def tell(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.0f}[/dim] {line}", highlight=False)

    try:
        found: dict[str, Any] = scenarios.measure(options.only, seconds=options.seconds, tell=tell)
    except (BenchError, StartError) as error:
        console.print(str(error), style="bold red", markup=False)
        return 1
    console.print(marks.table({"api": found}))
    if options.output:
        options.output.write_text(json.dumps({"api": found}, indent=2) + "\n", encoding="utf-8")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
