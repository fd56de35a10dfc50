"""The engine of this process: its data folder, its connections and its sessions."""

import fcntl
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote as quote_url

from sensor_local.clickhouse import errors
from sensor_local.clickhouse.connection import Connection, quote
from sensor_local.clickhouse.errors import ServerError
from sensor_local.clickhouse.settings import EngineSettings

MAX_IDLE = 16
"""Connections kept for reuse; opening one takes a quarter of a millisecond."""
LABEL = "Settings['log_comment']"
"""Where the engine's list of running queries shows the label of their connection."""


class DataFolderInUseError(Exception):
    """Another process has the data folder open."""


@dataclass(slots=True)
class _Session:
    connection: Connection
    busy: bool
    timeout: float
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """The session a request wants to be part of; timeout in seconds."""

    id: str
    timeout: float
    must_exist: bool


@dataclass(slots=True)
class Lease:
    """A connection lent out; it must be given back with `release`."""

    connection: Connection
    _give_back: Callable[[bool], None]
    _done: bool = field(default=False, init=False)
    # Reentrant: a KILL QUERY may name its own id.
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def release(self, *, reusable: bool) -> None:
        """Gives the connection back; one not reusable is closed, unless a session's."""
        with self._lock:
            done, self._done = self._done, True
        if not done:
            self._give_back(reusable)

    @contextmanager
    def held(self) -> Iterator[str | None]:
        """Yields the connection's label, None when it has been given back; until then it is not.

        Who ends what runs under the label must not hit the next statement on that connection.
        """
        with self._lock:
            yield None if self._done else self.connection.label


class Engine:
    """Opens the data folder and lends out connections. Methods may be called from any thread.

    Args:
        folder: where the data are; made when missing.
        settings: what the engine may take.
        max_sessions: sessions that may be open at once.
        backups: folder that BACKUP and RESTORE may use; without it the engine refuses them.
        clock: seconds that only grow.

    Raises:
        DataFolderInUseError: when another process has the folder.
    """

    def __init__(
        self,
        folder: Path,
        settings: EngineSettings,
        max_sessions: int,
        backups: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # The library fixes its time zone when it is loaded, and loading takes a second.
        from chdb.state.sqlitelike import connect  # noqa: PLC0415

        self._connect = connect
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = _lock(folder)
        values = settings.model_dump()
        if backups is not None and "&" not in str(backups.resolve()):
            # This sign would end the option even when it is quoted: then there are no backups.
            values["backups.allowed_path"] = quote_url(str(backups.resolve()))
        options = "&".join(f"{name}={value}" for name, value in values.items())
        # Every connection must name the folder and the options the same way.
        self._address = f"file:{quote_url(str(folder.resolve()))}?{options}"
        self._max_sessions = max_sessions
        self._clock = clock
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._control_lock = threading.Lock()
        self._idle: list[Connection] = []
        self._sessions: dict[str, _Session] = {}
        # Keeps the engine up while nobody is connected, and ends queries of the others.
        self._control = self._open(readonly=False, session=False)
        row = self._control.query(b"SELECT version(), timezone(), hostName()", "TSVRaw", {})[0]
        self.version, self.timezone, self.host_name = row.decode().rstrip("\n").split("\t")

    def lend(self, *, readonly: bool, database: str | None, settings: Mapping[str, str]) -> Lease:
        """Lends a connection for one statement, best one that has these settings already."""
        with self._lock:
            fitting = [c for c in self._idle if c.readonly == readonly]
            chosen = next(
                (c for c in reversed(fitting) if c.matches(database, settings)),
                fitting[-1] if fitting else None,
            )
            if chosen is not None:
                self._idle.remove(chosen)
        connection = chosen or self._open(readonly=readonly, session=False)
        return Lease(connection, lambda reusable: self._take_back(connection, reusable))

    def lend_session(self, wanted: SessionRequest) -> Lease:
        """Lends the connection of a session, which is opened unless it must exist.

        Raises:
            ServerError: the session is busy or missing, or there are too many.
        """
        self.expire()
        with self._lock:
            session = self._sessions.get(wanted.id)
            if session is None and wanted.must_exist:
                raise ServerError(
                    errors.SESSION_NOT_FOUND, "Session not found. (SESSION_NOT_FOUND)"
                )
            if session is not None and session.busy:
                raise ServerError(
                    errors.SESSION_IS_LOCKED,
                    f"Session {wanted.id} is locked by a concurrent client. (SESSION_IS_LOCKED)",
                )
            if session is None:
                if len(self._sessions) >= self._max_sessions:
                    raise ServerError(
                        errors.TOO_MANY_SIMULTANEOUS_QUERIES,
                        f"Too many sessions: {self._max_sessions} are open. "
                        "(TOO_MANY_SIMULTANEOUS_QUERIES)",
                    )
                connection = self._open(readonly=False, session=True)
                session = self._sessions[wanted.id] = _Session(connection, True, wanted.timeout)
            session.busy, session.timeout = True, wanted.timeout
            lent = session

        def give_back(_reusable: bool) -> None:
            with self._lock:
                lent.busy, lent.expires = False, self._clock() + lent.timeout

        return Lease(lent.connection, give_back)

    def close_session(self, session_id: str) -> None:
        """Ends a session that is not busy."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None or session.busy:
                return
            del self._sessions[session_id]
        session.connection.close()

    def expire(self) -> None:
        """Closes the sessions whose time is over."""
        now = self._clock()
        with self._lock:
            over = [k for k, s in self._sessions.items() if not s.busy and s.expires <= now]
            closing = [self._sessions.pop(key) for key in over]
        for session in closing:
            session.connection.close()

    def kill(self, lease: Lease) -> None:
        """Ends what runs on the connection while it is lent out; does not wait."""
        with lease.held() as label:
            if label is not None:
                self._kill("=", label)

    def kill_all(self) -> None:
        """Ends everything that runs; does not wait."""
        self._kill("!=", self._control.label)

    def close(self) -> None:
        """Closes the engine; nothing may be lent out any more."""
        with self._lock:
            connections = [*self._idle, *(s.connection for s in self._sessions.values())]
            self._idle.clear()
            self._sessions.clear()
        for connection in [*connections, self._control]:
            connection.close()
        self._lock_file.close()

    def _kill(self, compared: str, label: str) -> None:
        sql = f"KILL QUERY WHERE {LABEL} {compared} {quote(label)} ASYNC"
        with self._control_lock:
            self._control.query(sql.encode(), "Null", {})

    def _open(self, *, readonly: bool, session: bool) -> Connection:
        raw: Any = self._connect(self._address + ("&mode=ro" if readonly else ""))
        label = f"connection {next(self._numbers)}"
        return Connection(raw, label, readonly=readonly, session=session)

    def _take_back(self, connection: Connection, reusable: bool) -> None:
        if reusable:
            with self._lock:
                if len(self._idle) < MAX_IDLE:
                    self._idle.append(connection)
                    return
        connection.close()


def _lock(folder: Path) -> IO[str]:
    file = (folder / "server.lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise DataFolderInUseError(
            f"{folder} is in use by another server (process {holder}): one process at a time "
            "can have a data folder open"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
