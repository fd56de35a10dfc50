"""A system of its own in a temporary folder, on free ports: started, fed, asked and stopped."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sensor_local import background, credentials, ports
from sensor_local.checkout import EVENTING, ROOT
from sensor_local.drain import drained
from sensor_local.figures import Scrape
from sensor_local.folder import RunFolder
from sensor_local.process import before_exec
from sensor_local.system import System

_STOP_SECONDS = 40.0
_READY_SECONDS = 60.0
_UNLIMITED = {
    f"TWINUP_ONLY_{process}_LIMITS_{name}": "1000000"
    for process in ("AUTH", "GATEWAY")  # LIMITS of alerts are other ones
    for name in ("USER_BURST", "USER_PER_SECOND", "ADDRESS_BURST", "ADDRESS_PER_SECOND")
}
"""One user at one address asks for all that is measured."""


class BenchError(RuntimeError):
    """The measurement could not be made; the message says why."""


class Bed:
    """Runs parts of the system as `make up` does; nothing of it is left at the end.

    The supervisor gets most processes. Those that a measurement starts and stops by itself
    (producer, dispatcher, load) are this process's own children, from the same table.

    Args:
        only: names of the supervisor's processes.
        tell: takes one line for people.
        stored: what ClickHouse has already, and keeps; None: it begins with nothing.
    """

    def __init__(
        self, only: Sequence[str], tell: Callable[[str], None], *, stored: Path | None = None
    ):
        self._only = only
        self._stored = stored
        self._tell = tell
        self._own: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="twinup-bench-"))
        self.run = RunFolder(self.folder / "run")
        self.port = ports.choose({ports.VARIABLE: "auto"})
        self._environ = {
            **{name: value for name, value in os.environ.items() if "COV" not in name},
            **{ports.variable(name): str(number) for name, number in self.port.items()},
            "TWINUP_RUN_DIR": str(self.run.path),
            **_UNLIMITED,
        }
        try:
            self.run.make()
            if self._stored is not None:
                (self.run.path / "data").mkdir()
                (self.run.path / "data" / "clickhouse").symlink_to(self._stored)
            self.secrets = credentials.load_or_make(self.run, self._environ)
            self.since_ms = time.time_ns() // 1_000_000
            system = System(self.run, self.port, self.secrets, self._environ, self.since_ms)
            self._table = {process.name: process for process in system.processes()}
            background.up(self.run, self._environ, self._quiet, self._only, owner=os.getpid())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        for name in list(self._own):
            self.stop(name)
        background.down(self.run, self._quiet)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _quiet(self, line: str) -> None:
        if "restart" in line or "starting it again" in line or "did not" in line:
            self._tell(line)

    def start(
        self,
        name: str,
        environment: Mapping[str, str] | None = None,
        words: Sequence[str] | None = None,
    ) -> None:
        """Starts a process of the system's table and returns when it is ready.

        Args:
            name: in the table.
            environment: over the table's own.
            words: its command line, if not the table's.

        Raises:
            BenchError: when it is not ready in time.
        """
        process = self._table[name]
        if process.prepare:
            process.prepare()
        self.spawn(
            name,
            words or process.command,
            {**process.environ(self._environ), **(environment or {})},
        )
        deadline = time.monotonic() + _READY_SECONDS
        while not asyncio.run(_asked(process.ready)):
            if self._own[name].poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{name} did not start:\n{self.log(name)}")
            time.sleep(0.05)

    def start_dispatcher(self, *files: str) -> None:
        """Starts the dispatcher with the named files of the wiring alone."""
        wiring = self.folder / "eventing"
        wiring.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(EVENTING / file, wiring)
        command = self._table["dispatcher"].command
        self.start("dispatcher", words=[*command[:-1], str(wiring)])

    def spawn(
        self, name: str, words: Sequence[str], environment: Mapping[str, str], *, read: bool = False
    ) -> IO[str] | None:
        """Starts a process; returns what it writes when `read` is set, else that is its log."""
        with self.run.log(name).open("ab") as log:
            self._own[name] = subprocess.Popen(  # noqa: S603 - no shell, our words
                list(words),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if read else log,
                stderr=log,
                env={**self._environ, **environment},
                text=True,
                process_group=0,
                preexec_fn=before_exec(),  # noqa: PLW1509 - only the main thread starts any
            )
        return self._own[name].stdout

    def stop(self, name: str) -> int:
        """Stops a process that was started here, killing it when it does not end by itself."""
        process = self._own.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def ended(self, name: str) -> bool:
        """Tells whether a process that was started here has ended by itself."""
        return self._own[name].poll() is not None

    def log(self, name: str) -> str:
        """Returns the end of a process's log."""
        path = self.run.log(name)
        return path.read_text(encoding="utf-8", errors="replace")[-1500:] if path.exists() else ""

    def environment(self, name: str) -> Mapping[str, str]:
        """Returns what the table gives to a process."""
        return self._table[name].environment

    def pids(self) -> dict[str, int]:
        """Returns every process that runs now, the supervisor included."""
        document = self.run.processes or {"supervisor": {"pid": 0}, "processes": []}
        found = {
            one["name"]: one["pid"]
            for one in document["processes"]
            if one["pid"] is not None and not one["job"]
        }
        own = {name: process.pid for name, process in self._own.items()}
        return found | own

    def supervisor(self) -> int:
        """Returns the supervisor's process id."""
        return int((self.run.processes or {})["supervisor"]["pid"])

    def scrape(self, port: str) -> Scrape:
        """Returns the metrics of the process behind a port's name."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port[port]}/metrics", timeout=20
        ) as answer:
            return Scrape(answer.read().decode(), time.monotonic())

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Returns the rows of a query; none for a statement that answers nothing."""
        endpoints = self.run.endpoints or {}
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{endpoints['clickhouse']}/?default_format=JSONEachRow",
            data=sql.encode(),
            headers=endpoints["clickhouse_headers"],
        )
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
            return [json.loads(line) for line in answer.read().splitlines()]

    def number(self, sql: str) -> int:
        """Returns the one number that a query answers."""
        (row,) = self.query(sql)
        (value,) = row.values()
        return int(value)

    def drain(self) -> None:
        """Waits until the dispatcher has delivered everything.

        Raises:
            BenchError: when that does not come.
        """
        if not asyncio.run(drained(self.port["dispatcher"], self._tell)):
            raise BenchError(f"not everything was delivered:\n{self.log('dispatcher')}")

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a module of this checkout with the addresses of this system, to its end."""
        return subprocess.run(  # noqa: S603 - no shell, our words
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**self._environ, **self.environment("migrations")},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


async def _asked(check: Callable[[], Any]) -> bool:
    return bool(await check())
