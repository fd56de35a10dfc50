"""Runs the scenarios against the system that `make up` has started."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from sensor_local.checkout import ROOT
from sensor_local.folder import RunFolder

_MIN_SECONDS = 30
_MAX_SECONDS = 3_600
_MAX_USERS = 500


def main() -> int:
    """Command line entry; status 1 when a mark is missed, 2 when nothing runs."""
    parser = argparse.ArgumentParser(prog="make load")
    parser.add_argument(
        "--seconds",
        type=int,
        default=60,
        choices=range(_MIN_SECONDS, _MAX_SECONDS + 1),
        metavar="SECONDS",
    )
    parser.add_argument(
        "--users", type=int, default=20, choices=range(10, _MAX_USERS + 1), metavar="USERS"
    )
    parser.add_argument(
        "--run-dir", type=Path, default=Path(os.environ.get("TWINUP_RUN_DIR", ".run"))
    )
    options = parser.parse_args()
    run = RunFolder(options.run_dir)
    endpoints = run.endpoints
    if endpoints is None:
        sys.stderr.write("nothing runs: make up\n")
        return 2
    command = [
        *(sys.executable, "-m", "locust", "-f", "load/locust/locustfile.py"),
        *("--headless", "--only-summary", "--loglevel", "WARNING", "--stop-timeout", "10"),
        *("--users", str(options.users), "--spawn-rate", str(options.users)),
        *("--run-time", f"{options.seconds}s"),
        *("--host", endpoints["gateway"], "--auth-url", endpoints["auth"]),
        *("--password-file", str(run.path / "admin-password")),
        *("--result", str(run.path / "load.json")),
    ]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
