"""What happens to one statement on one connection. Everything here blocks: it runs in a worker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from sensor_local.clickhouse import blocks, errors
from sensor_local.clickhouse.connection import (
    Connection,
    Insert,
    Stream,
    Summary,
    quote,
    quote_name,
)
from sensor_local.clickhouse.engine import LABEL, Engine, Lease
from sensor_local.clickhouse.errors import ServerError
from sensor_local.clickhouse.form import Table
from sensor_local.clickhouse.protocol import Request
from sensor_local.clickhouse.running import Query
from sensor_local.clickhouse.statement import Statement, parse

DEFAULT_FORMAT = "TabSeparated"


@dataclass(slots=True)
class Execution:
    """A statement that has begun.

    Attributes:
        output: the first part of the answer, all of it when `more` is None.
        more: where the rest of the answer comes from.
        insert: where the rest of the data goes, while they are still coming.
    """

    lease: Lease
    format: str
    output: bytes = b""
    summary: Summary = field(default_factory=Summary)
    more: "Rest | None" = None
    insert: Insert | None = None

    def append(self, data: bytes) -> None:
        """Hands over more data of the insert."""
        if self.insert is not None:
            self.insert.append(data)

    def finish_insert(self) -> None:
        """Ends the data; afterwards the rows are stored."""
        if self.insert is not None:
            self.summary = self.insert.finish()
            self.insert = None

    def abandon(self) -> None:
        """Stops in the middle and gives the connection back."""
        try:
            if self.insert is not None:
                self.insert.cancel()
            if self.more is not None:
                self.more.stream.cancel()
        finally:
            self.lease.release(reusable=False)


@dataclass(slots=True)
class Rest:
    """The blocks after the first, made to continue it."""

    stream: Stream
    joint: blocks.Joint
    _ahead: bytes | None

    def fetch(self) -> bytes | None:
        """Returns the next part of the answer, None at its end."""
        if self._ahead is None:
            return None
        current = self._ahead
        block = self.stream.fetch()
        self._ahead = None if block is None else self.joint.continued(block[0])
        return current if self._ahead is not None else self.joint.last(current)


def begin(
    engine: Engine,
    request: Request,
    statement: Statement,
    query: Query,
    lease_of: Callable[[str], Lease | None],
    *,
    complete: bool,
) -> Execution:
    """Starts a statement, and ends it at once when its data are complete and its answer short.

    Args:
        engine: lends the connection.
        request: whose settings, database and parameters count.
        statement: what to run.
        query: is told which connection it runs on.
        lease_of: tells the lease of the connection that a query of an id runs on.
        complete: whether `statement.data` is all there is.

    Raises:
        ServerError: whatever goes wrong; the connection has then been given back.
    """
    lease = (
        engine.lend_session(request.session)
        if request.session
        else engine.lend(
            readonly=request.readonly, database=request.database, settings=request.settings
        )
    )
    try:
        query.lease = lease
        with _by_label(statement, lease_of) as known:
            return _begin(lease, request, known, complete=complete)
    except BaseException:
        lease.release(reusable=False)
        raise


def _begin(lease: Lease, request: Request, statement: Statement, *, complete: bool) -> Execution:
    connection = lease.connection
    connection.prepare(request.database, request.settings)
    for table in request.tables:
        _create(connection, table)
    if request.readonly and not connection.readonly and not statement.reads:
        raise ServerError(
            errors.READONLY,
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies "
            "readonly. You should use method POST for modifying queries. (READONLY)",
        )
    if statement.data is not None:
        return _insert(lease, request, statement, complete=complete)
    fmt = statement.format or request.default_format or DEFAULT_FORMAT
    execution = Execution(lease, fmt)
    joint = None if request.whole or not statement.streams else blocks.joint(fmt, statement.sql)
    if joint is None:
        execution.output, execution.summary = connection.query(
            statement.sql, fmt, request.parameters
        )
    else:
        _stream(execution, connection, request, statement, joint)
    if statement.keyword == b"USE":
        connection.forget_database()
    if execution.more is None:
        lease.release(reusable=not statement.changes_connection and not request.tables)
    return execution


def _stream(
    execution: Execution,
    connection: Connection,
    request: Request,
    statement: Statement,
    joint: blocks.Joint,
) -> None:
    stream = connection.stream(statement.sql, execution.format, request.parameters)
    first = stream.fetch()
    if first is None:
        # Without rows there is no block, but some formats have a header even then.
        if joint.headed:
            execution.output, execution.summary = connection.query(
                statement.sql, execution.format, request.parameters
            )
        return
    execution.output, execution.summary = first
    if (second := stream.fetch()) is not None:
        execution.output = joint.first(execution.output)
        execution.more = Rest(stream, joint, joint.continued(second[0]))


def _insert(lease: Lease, request: Request, statement: Statement, *, complete: bool) -> Execution:
    connection = lease.connection
    connection.bind(request.parameters)
    execution = Execution(lease, statement.format or DEFAULT_FORMAT)
    execution.insert = connection.insert(statement.sql, execution.format)
    if statement.data:
        execution.append(statement.data)
    if complete:
        execution.finish_insert()
        lease.release(reusable=not request.parameters)
    return execution


def _create(connection: Connection, table: Table) -> None:
    name = quote_name(table.name)
    create = parse(f"CREATE TEMPORARY TABLE {name} ({table.structure})".encode())
    connection.query(create.sql, DEFAULT_FORMAT, {})
    insert = connection.insert(f"INSERT INTO {name}".encode(), table.format)
    insert.append(table.data)
    insert.finish()


@contextmanager
def _by_label(statement: Statement, lease_of: Callable[[str], Lease | None]) -> Iterator[Statement]:
    """Lets KILL QUERY find a query by the id that the client gave it."""
    parts = statement.killed_query() if statement.keyword == b"KILL" else None
    if parts is None:
        yield statement
        return
    before, query_id, after = parts
    lease = lease_of(query_id)
    with nullcontext() if lease is None else lease.held() as label:
        killed = f"{LABEL} = {quote(label or 'no such query')}"
        yield Statement(before + killed.encode() + after, statement.keyword)
