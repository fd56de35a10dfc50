"""A request of ClickHouse's HTTP interface as a value."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from sensor_local.clickhouse import errors
from sensor_local.clickhouse.engine import SessionRequest
from sensor_local.clickhouse.errors import ServerError
from sensor_local.clickhouse.form import Table, tables_of

DEFAULT_SESSION_TIMEOUT = 60.0
MAX_SESSION_TIMEOUT = 3600.0

# What concerns the HTTP layer of the real server, or what this one has no use for: no query
# log, no quotas, no roles, no asynchronous start of answers. The engine never sees them.
_NOT_FOR_ENGINE = frozenset(
    {
        "query", "database", "user", "password", "query_id", "quota_key", "role", "default_format",
        "session_id", "session_timeout", "session_check", "close_session", "stacktrace",
        "compress", "decompress", "buffer_size", "wait_end_of_query", "http_wait_end_of_query",
        "http_response_buffer_size", "enable_http_compression", "http_zlib_compression_level",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close", "client_protocol_version",
        "add_http_cors_header", "log_comment", "framing", "http_make_head_request",
    }
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TRUE = frozenset({"1", "true", "True", "TRUE"})


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a request says it is from."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the query string and the headers ask for.

    Attributes:
        query: text that comes before the body.
        parameters: values of `{name:Type}` in the statement, escaped as in TabSeparated.
        settings: for the engine, for this statement only.
        readonly: the statement must not change anything (GET).
        tables: those that exist for this statement only.
        whole: the answer must not start before the query has ended.
    """

    query: bytes
    database: str | None
    default_format: str | None
    query_id: str | None
    session: SessionRequest | None
    close_session: bool
    parameters: dict[str, str]
    settings: dict[str, str]
    tables: list[Table]
    readonly: bool
    whole: bool
    compress: bool
    cancel_on_close: bool


def credentials(arguments: Mapping[str, str], headers: Mapping[bytes, bytes]) -> Credentials:
    """Reads user and password: ClickHouse's headers, basic authentication, or the query string.

    Raises:
        ServerError: when the Authorization header cannot be read.
    """
    if b"x-clickhouse-user" in headers or b"x-clickhouse-key" in headers:
        return Credentials(
            _text(headers.get(b"x-clickhouse-user", b"default")),
            _text(headers.get(b"x-clickhouse-key", b"")),
        )
    if header := headers.get(b"authorization"):
        scheme, _, value = header.partition(b" ")
        try:
            # What is no basic authentication is decoded to nothing and has no user.
            value = value if scheme.lower() == b"basic" else b"="
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (ValueError, binascii.Error) as error:
            raise ServerError(
                errors.AUTHENTICATION_FAILED,
                "Invalid authentication: only basic HTTP authentication is supported. "
                "(AUTHENTICATION_FAILED)",
            ) from error
        return Credentials(user, password)
    return Credentials(arguments.get("user", "default"), arguments.get("password", ""))


def arguments(query_string: bytes) -> dict[str, str]:
    """Reads a query string; of a name that comes twice, the last value counts.

    Raises:
        ServerError: when it is not UTF-8 or has too many fields.
    """
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=10_000,
        )
    except ValueError as error:
        raise ServerError(
            errors.BAD_ARGUMENTS, f"Cannot read the query string: {error}. (BAD_ARGUMENTS)"
        ) from error
    return dict(pairs)


def request(
    method: str,
    arguments: Mapping[str, str],
    headers: Mapping[bytes, bytes],
    files: Mapping[str, bytes] | None = None,
) -> Request:
    """Makes sense of a request whose sender is known.

    Args:
        method: POST, or one that must change nothing.
        arguments: of the query string and the form.
        headers: names in small letters.
        files: of the form, by name.

    Raises:
        ServerError: when it asks for what cannot be, or is not supported.
    """
    if arguments.get("compress") in _TRUE or arguments.get("decompress") in _TRUE:
        raise ServerError(
            errors.NOT_IMPLEMENTED,
            "compress and decompress (ClickHouse's own block format) are not supported, use "
            "Content-Encoding and enable_http_compression. (NOT_IMPLEMENTED)",
        )
    tables, of_tables = tables_of(files or {}, arguments)
    parameters, settings = {}, {}
    for name, value in arguments.items():
        if name.startswith("param_"):
            parameters[_name(name.removeprefix("param_"))] = value
        elif name not in _NOT_FOR_ENGINE and name not in of_tables:
            settings[_name(name)] = value
    # GET implies readonly, which a request may ask for but not lift. The engine knows it from
    # the connection, because a connection cannot be made writable again.
    asked = settings.get("readonly")
    if asked in {"0", "1", "2"}:
        del settings["readonly"]
    readonly = method != "POST" or asked in {"1", "2"}

    def flag(name: str, default: str = "0") -> bool:
        return arguments.get(name, default) in _TRUE

    return Request(
        query=arguments.get("query", "").encode(),
        database=arguments.get("database") or _text(headers.get(b"x-clickhouse-database")) or None,
        default_format=_text(headers.get(b"x-clickhouse-format"))
        or arguments.get("default_format")
        or None,
        query_id=arguments.get("query_id") or None,
        session=_session(arguments),
        close_session=flag("close_session"),
        parameters=parameters,
        settings=settings,
        tables=tables,
        readonly=readonly,
        whole=flag("wait_end_of_query") or flag("http_wait_end_of_query"),
        compress=flag("enable_http_compression", "0"),
        cancel_on_close=flag("cancel_http_readonly_queries_on_client_close"),
    )


def _session(arguments: Mapping[str, str]) -> SessionRequest | None:
    session_id = arguments.get("session_id")
    if not session_id:
        return None
    given = arguments.get("session_timeout", str(DEFAULT_SESSION_TIMEOUT))
    try:
        timeout = float(given)
    except ValueError:
        timeout = -1.0
    if not 0 <= timeout <= MAX_SESSION_TIMEOUT:
        raise ServerError(
            errors.INVALID_SESSION_TIMEOUT,
            f"Invalid session timeout: '{given}', it must be a number of seconds up to "
            f"{MAX_SESSION_TIMEOUT:.0f}. (INVALID_SESSION_TIMEOUT)",
        )
    return SessionRequest(session_id, timeout, arguments.get("session_check") in _TRUE)


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ServerError(errors.UNKNOWN_SETTING, f"Unknown setting '{name}'. (UNKNOWN_SETTING)")
    return name


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace") if value else ""
