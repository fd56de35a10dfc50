"""One connection to the engine: it runs one thing at a time, with the settings asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sensor_local.clickhouse import errors


@dataclass(frozen=True, slots=True)
class Summary:
    """What a statement read, wrote and returned; sizes in bytes, time in seconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed: float = 0.0


def quote(value: str) -> str:
    """Writes a string literal of SQL."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def quote_name(name: str) -> str:
    """Writes an identifier of SQL."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`").replace("\0", "\\0")
    return f"`{escaped}`"


class Connection:
    """A connection of the engine that remembers which settings and database are in force.

    Setting the same again costs nothing, so requests that look alike share a connection for
    one statement each. Every method blocks; errors are `ServerError`.

    Attributes:
        label: the engine lists this connection's queries under it.
        readonly: whether it was opened for reading only.
    """

    def __init__(self, raw: Any, label: str, *, readonly: bool, session: bool) -> None:
        self.label = label
        self.readonly = readonly
        self._raw = raw
        self._session = session
        self._database: str | None = None if session else "default"
        self._settings: dict[str, str] = {}
        self._own_database: str | None = None
        self._own_settings: dict[str, str] = {}
        self._run(f"SET log_comment = {quote(label)}")

    def matches(self, database: str | None, settings: Mapping[str, str]) -> bool:
        """Tells whether `prepare` would have nothing to do."""
        return self._database == (database or "default") and self._settings == settings

    def prepare(self, database: str | None, settings: Mapping[str, str]) -> None:
        """Puts the database and exactly these settings in force for the next statement.

        What they cover is uncovered when a later request no longer asks for it: the session's
        own database and settings, or the defaults.
        """
        if self._session:
            self._remember(database, settings)
            database = database or self._own_database
        else:
            database = database or "default"
        if database is not None and database != self._database:
            self._run(f"USE {quote_name(database)}")
            self._database = database
        if settings == self._settings:
            return
        changes = [
            f"{name} = {quote(value)}"
            for name, value in settings.items()
            if self._settings.get(name) != value
        ]
        for name in self._settings.keys() - settings.keys():
            own = self._own_settings.get(name)
            changes.append(f"{name} = {'DEFAULT' if own is None else quote(own)}")
        self._run("SET " + ", ".join(changes))
        self._settings = dict(settings)

    def forget_database(self) -> None:
        """Is told that a statement of the session has changed the database."""
        self._database = self._own_database = None

    def bind(self, parameters: Mapping[str, str]) -> None:
        """Sets parameters for an insert; they stay, so the connection must not be shared then."""
        if parameters:
            values = ", ".join(f"param_{name} = {quote(v)}" for name, v in parameters.items())
            self._run(f"SET {values}")

    def query(self, sql: bytes, fmt: str, parameters: Mapping[str, str]) -> tuple[bytes, Summary]:
        """Runs a statement and returns its whole output."""
        try:
            result = self._raw.query(sql, fmt, params=dict(parameters))
        except Exception as error:
            raise errors.from_engine(error) from error
        return result.bytes(), _summary(result)

    def stream(self, sql: bytes, fmt: str, parameters: Mapping[str, str]) -> "Stream":
        """Starts a query whose output is fetched block by block."""
        try:
            return Stream(self._raw.send_query(sql, fmt, params=dict(parameters)))
        except Exception as error:
            raise errors.from_engine(error) from error

    def insert(self, sql: bytes, fmt: str) -> "Insert":
        """Starts an insert whose data are appended piece by piece."""
        try:
            return Insert(self._raw.send_insert(sql, fmt))
        except Exception as error:
            raise errors.from_engine(error) from error

    def close(self) -> None:
        """Closes the connection; temporary tables go with it."""
        self._raw.close()

    def _remember(self, database: str | None, settings: Mapping[str, str]) -> None:
        if database is not None and self._own_database is None:
            self._own_database = self._run("SELECT currentDatabase()").decode().rstrip("\n")
        if covered := [name for name in settings if name not in self._settings]:
            names = ", ".join(map(quote, covered))
            rows = self._run(
                f"SELECT name, value FROM system.settings WHERE changed AND name IN ({names})"  # noqa: S608
            )
            for name in covered:
                self._own_settings.pop(name, None)
            for row in rows.decode().splitlines():
                name, _, value = row.partition("\t")
                self._own_settings[name] = value

    def _run(self, sql: str) -> bytes:
        return self.query(sql.encode(), "TSVRaw", {})[0]


class Stream:
    """The output of a running query, block by block, each block complete in its format."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def fetch(self) -> tuple[bytes, Summary] | None:
        """Returns the next block and what it took, None at the end."""
        try:
            block = self._raw.fetch()
        except Exception as error:
            raise errors.from_engine(error) from error
        return None if block is None else (block.bytes(), _summary(block))

    def cancel(self) -> None:
        """Gives up the rest."""
        self._raw.cancel()


class Insert:
    """A running insert."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def append(self, data: bytes) -> None:
        """Hands over the next piece of the data; it may end anywhere."""
        try:
            self._raw.append(data)
        except Exception as error:
            raise errors.from_engine(error) from error

    def finish(self) -> Summary:
        """Ends the data; when this returns the rows are stored."""
        try:
            result = self._raw.finish()
        except Exception as error:
            raise errors.from_engine(error) from error
        return Summary(
            written_rows=result.rows_written,
            written_bytes=result.bytes_written,
            elapsed=result.elapsed,
        )

    def cancel(self) -> None:
        """Stores nothing more."""
        self._raw.cancel()


def _summary(result: Any) -> Summary:
    return Summary(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        result_bytes=result.bytes_read(),
        elapsed=result.elapsed(),
    )
