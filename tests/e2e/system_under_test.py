"""A whole system as processes, controlled by the command that people use, in its own folder."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import httpx
import psutil

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


@dataclass(frozen=True)
class System:
    """A running system: its folder, its addresses, and the command that controls it."""

    run_dir: Path
    environ: Mapping[str, str]
    DEVICES: ClassVar[int] = 300

    @classmethod
    def in_folder(cls, run_dir: Path, devices: int) -> Self:
        """A system on free ports, at full speed: its processes do not measure coverage."""
        inherited = {name: value for name, value in os.environ.items() if "COV" not in name}
        return cls(
            run_dir,
            inherited
            | {
                "TWINUP_RUN_DIR": str(run_dir),
                "TWINUP_PORTS": "auto",
                "TWINUP_PRODUCER_DEVICE_COUNT": str(devices),
                # So many fail that in a small fleet some do at any time.
                "TWINUP_FAULTS_FAILED": "0.02",
            },
        )

    def command(self, *words: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sensor_local", *words],
            cwd=ROOT,
            env=dict(self.environ),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @property
    def endpoints(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.run_dir / "endpoints.json").read_text())
        return document

    def secret(self, name: str) -> str:
        return (self.run_dir / name).read_text().strip()

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query, as a stranger would ask by plain HTTP."""
        answer = httpx.post(
            self.endpoints["clickhouse"],
            content=f"{sql} FORMAT JSONEachRow",
            headers=self.endpoints["clickhouse_headers"],
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def processes(self) -> list[psutil.Process]:
        """Every process that has this system's folder in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TWINUP_RUN_DIR") == str(self.run_dir):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def wait_for(ask: Callable[[], T | None], what: str, seconds: float = 60) -> T:
    """Asks until there is an answer; fails with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s for {what}")
