"""`python -m sensor_local.clickhouse.client`: an SQL prompt for the running system."""

import argparse
import contextlib
import http.client
import json
import readline
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from sensor_local.clickhouse.connection import quote_name
from sensor_local.clickhouse.statement import split

CHUNK = 64 * 1024
PROMPT, CONTINUED = "clickhouse> ", "        ... "
_LEAVE = {"exit", "quit", "\\q"}


class QueryError(Exception):
    """The server refuses or cannot be reached; the message is for people."""


@dataclass(frozen=True)
class Server:
    """Where the server is and which headers name the user; one session for all statements.

    Attributes:
        database: the one that the session starts in.
    """

    host: str
    port: int
    headers: dict[str, str]
    database: str = "default"
    session: str = field(default_factory=lambda: str(uuid.uuid4()))

    def run(self, sql: str, fmt: str, out: BinaryIO) -> None:
        """Runs one statement and copies its output.

        Raises:
            QueryError: with the server's text.
        """
        query_id = str(uuid.uuid4())
        arguments = {
            "default_format": fmt,
            "query_id": query_id,
            "session_id": self.session,
            "session_timeout": "3600",
            "cancel_http_readonly_queries_on_client_close": "1",
        }
        try:
            with self._answer(sql, arguments) as response:
                if response.status != 200:
                    raise QueryError(response.read().decode("utf-8", "replace").strip())
                while chunk := response.read(CHUNK):
                    out.write(chunk)
                out.flush()
        except http.client.IncompleteRead as error:
            out.write(error.partial)
            out.flush()
            raise QueryError("the answer was cut off by an error, see its end") from error
        except (OSError, http.client.HTTPException) as error:
            raise QueryError(f"{self.host}:{self.port}: {error}") from error
        except KeyboardInterrupt:
            with self._answer(f"KILL QUERY WHERE query_id = '{query_id}'", {}):
                raise

    @contextlib.contextmanager
    def _answer(self, sql: str, arguments: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self.host, self.port)
        try:
            connection.request("POST", f"/?{urlencode(arguments)}", sql.encode(), self.headers)
            yield connection.getresponse()
        finally:
            connection.close()


def start_session(server: Server) -> None:
    """Enters the database.

    Raises:
        QueryError: when there is no server, or no such database.
    """
    server.run(f"USE {quote_name(server.database)}", "Null", sys.stdout.buffer)


def server_of(endpoints: Path) -> Server:
    """Reads where the server is from the file that the running system keeps.

    Raises:
        QueryError: when the system does not run or the file is of something else.
    """
    try:
        document = json.loads(endpoints.read_text(encoding="utf-8"))
        address = urlsplit(document["clickhouse"])
        headers = dict(document.get("clickhouse_headers", {}))
        # Sent with each statement it would undo what USE does in the session.
        database = headers.pop("X-ClickHouse-Database", "default")
        return Server(str(address.hostname), address.port or 8123, headers, database)
    except FileNotFoundError as error:
        raise QueryError(f"{endpoints} is not there: is the system running?") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QueryError(f"{endpoints} cannot be read: {error}") from error


def run_script(server: Server, script: str, fmt: str) -> None:
    """Runs the statements of a script up to the first that fails."""
    complete, rest = split(script)
    for statement in [*complete, *([rest] if rest.strip() else [])]:
        server.run(statement, fmt, sys.stdout.buffer)


def prompt(server: Server, fmt: str, history: Path) -> None:
    """Reads statements from a terminal until its end; what fails is shown, and it goes on."""
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(1000)
    try:
        for statement in _statements():
            started = time.monotonic()
            try:
                server.run(statement, fmt, sys.stdout.buffer)
                sys.stdout.write(f"({time.monotonic() - started:.3f} s)\n\n")
            except QueryError as error:
                sys.stderr.write(f"{error}\n\n")
            except KeyboardInterrupt:
                sys.stderr.write("cancelled\n\n")
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(history)


def _statements() -> Iterator[str]:
    pending = ""
    while True:
        try:
            line = input(CONTINUED if pending.strip() else PROMPT)
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            pending = ""
            continue
        if not pending.strip() and line.strip().rstrip(";").lower() in _LEAVE:
            return
        complete, pending = split(f"{pending}{line}\n")
        yield from complete


def main(arguments: Sequence[str]) -> int:
    """Runs what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sensor_local.clickhouse.client",
        description="SQL prompt; reads a script from standard input when that is no terminal.",
    )
    parser.add_argument("-q", "--query", help="run this SQL and leave")
    parser.add_argument("--endpoints", type=Path, default=Path(".run/endpoints.json"))
    parser.add_argument("--format", help="default: Pretty on a terminal, else TabSeparated")
    given = parser.parse_args(arguments)
    fmt = given.format or ("PrettyCompact" if sys.stdout.isatty() else "TabSeparated")
    try:
        server = server_of(given.endpoints)
        start_session(server)
        if given.query is not None:
            run_script(server, given.query, fmt)
        elif not sys.stdin.isatty():
            run_script(server, sys.stdin.read(), fmt)
        else:
            prompt(server, fmt, given.endpoints.with_name("clickhouse_history"))
    except QueryError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("cancelled\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
