"""The ASGI application: routes, authentication, and statements handed to the workers."""

import asyncio
import hmac
import re
from dataclasses import replace

import structlog

from sensor_local.clickhouse import encoding, errors, protocol
from sensor_local.clickhouse.answer import Answer
from sensor_local.clickhouse.body import Body, ClientGoneError
from sensor_local.clickhouse.engine import Engine
from sensor_local.clickhouse.errors import ServerError
from sensor_local.clickhouse.execution import Execution, begin
from sensor_local.clickhouse.form import read_form
from sensor_local.clickhouse.running import Query, RunningQueries
from sensor_local.clickhouse.settings import MIB, ServerSettings
from sensor_local.clickhouse.statement import Statement, parse
from sensor_local.clickhouse.workers import Workers
from sensor_shared.runtime.function import Receive, Scope, Send

log = structlog.get_logger()

PIECE = MIB
"""Bytes of an insert that are handed to the engine at once."""

_OK = b"Ok.\n"
_HEADER_SAFE = re.compile(r"[^\x20-\x7e]")


class ClickHouseApp:
    """Serves one engine to one user.

    Args:
        settings: user, password and limits.
        engine: what runs the statements; the caller closes it after `stop`.
    """

    def __init__(self, settings: ServerSettings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._running = RunningQueries(settings.max_concurrent_queries)
        self._workers = Workers(settings.workers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request."""
        if scope["type"] != "http":
            return
        try:
            await self._serve(scope, receive, send)
        except ClientGoneError:
            log.debug("client gone", path=scope["path"])

    def stop(self) -> None:
        """Ends what still runs and waits for the workers."""
        self._workers.stop(self._engine.kill_all)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        headers = dict(scope["headers"])
        common = [
            (b"x-clickhouse-server-display-name", self._engine.host_name.encode()),
            (b"x-clickhouse-timezone", self._engine.timezone.encode()),
        ]
        answer = Answer(send, common, head=method == "HEAD")
        if path in {"/ping", "/replicas_status"} and method in {"GET", "HEAD"}:
            await answer.text(200, _OK)
            return
        try:
            arguments = protocol.arguments(scope["query_string"])
            if path not in {"/", "/query"}:
                await answer.text(404, _no_such_path(path))
            elif method not in {"GET", "HEAD", "POST"}:
                await answer.text(501, b"Only GET, HEAD and POST are supported.\n")
            elif method != "POST" and "query" not in arguments:
                await answer.text(200, _OK)
            else:
                self._authenticate(protocol.credentials(arguments, headers))
                with self._running.add(arguments.get("query_id")) as query:
                    shown = _HEADER_SAFE.sub("?", query.id).encode()
                    common.append((b"x-clickhouse-query-id", shown))
                    await self._query(query, method, arguments, headers, receive, answer=answer)
        except ServerError as error:
            log.warning("query failed", code=error.code, error=error.message[:500])
            if not answer.started:
                await answer.error(error, self._engine.version)

    def _authenticate(self, given: protocol.Credentials) -> None:
        user = hmac.compare_digest(given.user.encode(), self._settings.user.encode())
        password = hmac.compare_digest(
            given.password.encode(), self._settings.password.get_secret_value().encode()
        )
        if not (user and password):
            raise ServerError(
                errors.AUTHENTICATION_FAILED,
                f"{given.user}: Authentication failed: password is incorrect, or there is no user "
                "with such name. (AUTHENTICATION_FAILED)",
            )

    async def _query(
        self,
        query: Query,
        method: str,
        arguments: dict[str, str],
        headers: dict[bytes, bytes],
        receive: Receive,
        *,
        answer: Answer,
    ) -> None:
        settings = self._settings
        codec = encoding.decoder(headers.get(b"content-encoding", b"").decode("latin-1"))
        body = Body(receive, codec, settings.max_body_bytes)
        files: dict[str, bytes] = {}
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        if content_type.startswith("multipart/form-data"):
            form = read_form(content_type, await self._read_query(body, b""))
            arguments = {**arguments, **form.fields}
            files = form.files
        request = protocol.request(method, arguments, headers, files)
        text = await body.read(PIECE)
        if request.query:
            text = request.query + b"\n" + text
        statement = parse(text)
        if statement.data is None and not body.ended:
            statement = parse(await self._read_query(body, text))
        if not statement.keyword:
            raise ServerError(errors.SYNTAX_ERROR, "Empty query. (SYNTAX_ERROR)")
        execution = await self._execute(query, request, statement, body, receive)
        compression = None
        if request.compress:
            compression = encoding.encoder(headers.get(b"accept-encoding", b"").decode("latin-1"))
        try:
            await self._send(execution, receive, answer, compression)
        finally:
            if request.session is not None and request.close_session:
                self._engine.close_session(request.session.id)

    async def _read_query(self, body: Body, start: bytes) -> bytes:
        """Reads a body that has to be held whole."""
        limit = self._settings.max_query_bytes
        text = start + await body.read(limit)
        if not body.ended or len(text) > limit:
            raise ServerError(
                errors.QUERY_IS_TOO_LARGE,
                f"The query is too large, at most {limit} bytes are taken. (QUERY_IS_TOO_LARGE)",
            )
        return text

    async def _execute(
        self,
        query: Query,
        request: protocol.Request,
        statement: Statement,
        body: Body,
        receive: Receive,
    ) -> Execution:
        complete = body.ended

        def start() -> Execution:
            return begin(
                self._engine, request, statement, query, self._running.lease, complete=complete
            )

        def interrupt() -> None:
            if query.lease is not None:
                log.info("query cancelled", query_id=query.id, reason="client gone")
                self._engine.kill(query.lease)

        if request.cancel_on_close and statement.reads and complete:
            execution = await self._workers.run_watched(
                start, lambda: _disconnected(receive), interrupt
            )
        else:
            execution = await self._workers.run(start)
        if complete:
            return execution
        try:
            while not body.ended:
                piece = await body.read(PIECE)
                await self._workers.run(lambda piece=piece: execution.append(piece))  # type: ignore[misc]
            await self._workers.run(execution.finish_insert)
        except BaseException:
            await asyncio.shield(self._workers.run(execution.abandon))
            raise
        execution.lease.release(reusable=False)
        return execution

    async def _send(
        self,
        execution: Execution,
        receive: Receive,
        answer: Answer,
        compression: tuple[str, encoding.Codec] | None,
    ) -> None:
        rest = execution.more
        summary, version = execution.summary, self._engine.version
        if rest is None:
            await answer.result(
                execution.format,
                summary,
                execution.output,
                None,
                compression=compression,
                version=version,
            )
            return
        gone = asyncio.ensure_future(_disconnected(receive))

        async def more() -> bytes | None:
            if gone.done():
                raise ClientGoneError
            part = await self._workers.run(rest.fetch)
            if part is None:
                execution.more = None
            return part

        try:
            # What is told about a result that has only begun would not be the truth.
            summary = replace(summary, result_rows=0, result_bytes=0)
            await answer.result(
                execution.format,
                summary,
                execution.output,
                more,
                compression=compression,
                version=version,
            )
        finally:
            gone.cancel()
            await asyncio.shield(self._workers.run(execution.abandon))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _no_such_path(path: str) -> bytes:
    return (
        f"There is no handle {path}\n\nUse / or /ping for health checks.\n"
        "Send queries from your program with POST method or GET /?query=...\n"
    ).encode()
