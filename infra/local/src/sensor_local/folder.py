"""The run folder (`.run`): the only place where the local system keeps anything.

endpoints.json     addresses, there only while the system runs
admin-password     of the first admin (mode 600)
service-token      that gRPC accepts (mode 600)
secrets/           everything else that is secret
data/<part>/       what the parts store
backups/           what `make backup` has saved
logs/<process>.log
ledger/            what the producer had acknowledged
account.json       the account of it that the last `down` made
processes.json     what runs, for `status` and for ending leftovers
lock               held by the supervisor as long as it lives
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class RunFolder:
    """Paths inside one run folder, and the reading and writing of its documents."""

    def __init__(self, path: Path):
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.ledger = self.path / "ledger"
        self.account_file = self.path / "account.json"
        self.secrets = self.path / "secrets"
        self.backups = self.path / "backups"
        self._endpoints = self.path / "endpoints.json"
        self._processes = self.path / "processes.json"
        self._lock = self.path / "lock"

    def make(self) -> None:
        """Creates the folder, for its owner alone."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.logs, self.ledger):
            folder.mkdir(exist_ok=True)

    def data(self, part: str) -> Path:
        """Returns the folder where a part stores, which is there afterwards."""
        folder = self.path / "data" / part
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, process: str) -> Path:
        """Returns the log file of a process."""
        return self.logs / f"{process}.log"

    @property
    def endpoints(self) -> dict[str, Any] | None:
        """The addresses, None while the system is not ready."""
        return self._read(self._endpoints)

    @endpoints.setter
    def endpoints(self, document: Mapping[str, Any] | None) -> None:
        self._write(self._endpoints, document, mode=0o600)

    @property
    def processes(self) -> dict[str, Any] | None:
        """What runs or ran last, as the supervisor wrote it; None after a clean stop."""
        return self._read(self._processes)

    @processes.setter
    def processes(self, document: Mapping[str, Any] | None) -> None:
        self._write(self._processes, document)

    @property
    def account(self) -> str | None:
        """The audit of the last run, as JSON; None when there was none."""
        try:
            return self.account_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def write_secret(self, path: Path, content: str) -> None:
        """Writes a file that only its owner can read, whole or not at all."""
        _replace(path, content, mode=0o600)

    def _write(self, path: Path, document: Mapping[str, Any] | None, mode: int = 0o644) -> None:
        if document is None:
            path.unlink(missing_ok=True)
        else:
            _replace(path, json.dumps(document, indent=2) + "\n", mode)

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return document

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Holds the folder's lock; gives False when another supervisor has it."""
        with self._lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def is_supervised(self) -> bool:
        """Tells whether a supervisor lives."""
        if not self._lock.exists():
            return False
        with self.locked() as free:
            return not free


def _replace(path: Path, content: str, mode: int) -> None:
    """Writes a file so that a reader sees the old or the new one, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    temporary.replace(path)
