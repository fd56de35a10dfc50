"""`python -m sensor_local.account NAME`: sensor_auth.recovery on the system that runs here.

`TWINUP_CLICKHOUSE_HOST` and its neighbours, and those of Redis, name a server's instead.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from sensor_local.addresses import Addresses
from sensor_local.command import exit_status
from sensor_local.folder import RunFolder


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that lead auth's command to ClickHouse and Redis.

    Raises:
        StartError: when nobody says where they are.
    """
    if environ.get("TWINUP_CLICKHOUSE_HOST"):
        return dict(environ)
    clickhouse = Addresses(environ).clickhouse
    endpoints = RunFolder(Path(environ.get("TWINUP_RUN_DIR", ".run"))).endpoints or {}
    redis = urlsplit(endpoints.get("redis", ""))
    return {
        **environ,
        "TWINUP_CLICKHOUSE_HOST": clickhouse.host,
        "TWINUP_CLICKHOUSE_PORT": str(clickhouse.port),
        "TWINUP_CLICKHOUSE_USER": clickhouse.user,
        "TWINUP_CLICKHOUSE_PASSWORD": clickhouse.password.get_secret_value(),
        "TWINUP_CLICKHOUSE_DATABASE": clickhouse.database,
        "TWINUP_REDIS_HOST": redis.hostname or "127.0.0.1",
        "TWINUP_REDIS_PORT": str(redis.port or 6379),
    }


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    err: TextIO = sys.stderr,
) -> int:
    """Command line entry; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments

    def work() -> int:
        command = [sys.executable, "-m", "sensor_auth.recovery", *given]
        variables = environment(os.environ if environ is None else environ)
        # The operator's own words, to a program of ours and through no shell.
        return subprocess.run(command, env=variables, check=False).returncode  # noqa: S603

    return exit_status(work, err)


if __name__ == "__main__":
    sys.exit(main())
