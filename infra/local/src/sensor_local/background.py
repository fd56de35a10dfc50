"""Starting and stopping the system in the background, from another process."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from sensor_local.daemon import RUNNING_ALREADY
from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_local.process import Started
from sensor_local.session import end_leftovers

_POLL_SECONDS = 0.05
_DAEMON = "supervisor"


class LogReader:
    """Reads the lines that are added to a file from now on."""

    def __init__(self, run: RunFolder):
        self._path = run.log(_DAEMON)
        self._position = self._path.stat().st_size if self._path.exists() else 0

    def lines(self) -> list[str]:
        """Returns the whole lines that were added since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            whole = file.read().rpartition(b"\n")[0]
        if not whole:
            return []
        self._position += len(whole) + 1
        return whole.decode(errors="replace").splitlines()


def up(
    run: RunFolder,
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    only: Sequence[str] = (),
    owner: int | None = None,
) -> bool:
    """Starts the system and returns when it is ready; false when it was running already.

    A KeyboardInterrupt in between stops it again.

    Raises:
        StartError: when it could not start; nothing runs then.
    """
    run.make()
    news = LogReader(run)
    words = [sys.executable, "-m", "sensor_local.daemon", "--run-dir", str(run.path)]
    if owner is not None:
        words += ["--owner", str(owner)]
    with run.log(_DAEMON).open("ab") as log:
        daemon = subprocess.Popen(  # noqa: S603 - no shell, our words
            [*words, *only],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environ),
            start_new_session=True,
        )
    seen: list[str] = []
    try:
        while True:
            status = daemon.poll()
            ready = run.endpoints is not None and status is None
            for line in news.lines():
                seen.append(line)
                tell(line)
            if status == RUNNING_ALREADY:
                return False
            if status is not None:
                raise StartError(f"the system did not start (see {run.log(_DAEMON)})")
            if ready and _is_supervisor(run, daemon.pid):
                daemon.returncode = 0  # it is on its own now: no warning that it still runs
                return True
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        daemon.terminate()
        daemon.wait()
        raise


def _is_supervisor(run: RunFolder, pid: int) -> bool:
    document = run.processes
    return document is not None and document["supervisor"]["pid"] == pid


def down(run: RunFolder, tell: Callable[[str], None]) -> bool:
    """Stops the system and returns when nothing of it runs; false when nothing did.

    What a killed supervisor has left is ended too.
    """
    if not run.path.exists():
        return False
    news = LogReader(run)
    document = run.processes
    if run.is_supervised() and document is not None:
        supervisor = Started(**document["supervisor"])
        if process := supervisor.find():
            process.send_signal(signal.SIGTERM)
        while run.is_supervised() or supervisor.find():
            for line in news.lines():
                tell(line)
            time.sleep(_POLL_SECONDS)
        for line in news.lines():
            tell(line)
        return True
    with run.locked():
        found = run.processes is not None
        end_leftovers(run, tell)
        return found
