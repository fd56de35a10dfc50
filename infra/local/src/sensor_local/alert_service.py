"""The real alert service as a process of its own, for tests of what calls it."""

import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sensor_local import ports
from sensor_local.checkout import CONFIGS, FUNCTIONS, ROOT

_START_SECONDS: Final = 60.0
_SHOWN: Final = 4_000
"""Of its log, when it does not start."""
_NOBODY: Final = "127.0.0.1:1"


@contextmanager
def alert_service(
    sections: Mapping[str, Mapping[str, Any]],
    folder: Path,
    *,
    kafka: str = _NOBODY,
    grpc_port: int | None = None,
    token: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Starts it, and yields the section ALERTS that leads to it; it is killed at the end.

    Args:
        sections: REDIS and CLICKHOUSE.
        folder: for its log.
        kafka: without it changes of alerts wait to be published.
        grpc_port: a free one unless it is given.
        token: the service token, made unless it is given.
    """
    chosen = ports.choose({"TWINUP_PORTS": "auto"})
    http, grpc = chosen["alerts_http"], grpc_port or chosen["alerts_grpc"]
    token = token or secrets.token_urlsafe(24)
    given = {
        f"TWINUP_{section}_{key}".upper(): str(value)
        for section, values in sections.items()
        for key, value in values.items()
    }
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("TWINUP_")},
        **given,
        "TWINUP_CONFIG_DIR": str(CONFIGS),
        "TWINUP_SERVER_PORT": str(http),
        "TWINUP_GRPC_PORT": str(grpc),
        "TWINUP_GRPC_TOKEN": token,
        "TWINUP_KAFKA_BROKERS": kafka,
    }
    log = folder / f"alerts-{grpc}.log"
    command = [sys.executable, "-m", "sensor_shared.runtime", str(FUNCTIONS / "alerts")]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  (our own)
            command, cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    try:
        _wait(process, f"http://127.0.0.1:{http}/health/readiness", log)
        yield {"target": f"127.0.0.1:{grpc}", "token": token}
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  (our own)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    said = log.read_text(errors="replace")[-_SHOWN:]
    raise RuntimeError(f"the alert service does not serve:\n{said}")
