"""ClickHouse by its HTTP interface: settings, connection, and which errors are worth a retry."""

import asyncio
from typing import Annotated, Any, Final, Self

import aiohttp
import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError
from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from sensor_shared.runtime.settings import Section

NATIVE_PORTS = (9000, 9440)

CLUSTER_SETTINGS: Final = {
    # Acknowledged means on most replicas: what one of them held alone would be lost with it.
    "insert_quorum": "auto",
    # Without this the next setting has no effect.
    "insert_quorum_parallel": 0,
    # A query on any replica sees all that was acknowledged, or fails and is tried again: rollups,
    # and the check of what is stored already, must not read a replica that lags behind.
    "select_sequential_consistency": 1,
    # A table is there on all replicas before anything uses it.
    "distributed_ddl_output_mode": "throw",
}
"""Sent with each query when the settings name a cluster."""

_TRANSIENT_CODES = frozenset(
    {
        3,  # UNEXPECTED_END_OF_FILE: the connection was cut
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        164,  # READONLY: a replica that lost its keeper
        201,  # QUOTA_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        254,  # NO_ACTIVE_REPLICAS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE: another insert is on its way to its replicas
        289,  # REPLICA_IS_NOT_IN_QUORUM: this one has not yet got all that was acknowledged
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        999,  # KEEPER_EXCEPTION
    }
)


GIVING_WAY: Final[dict[str, Any]] = {"max_threads": 1, "os_thread_priority": 10}
"""Settings of queries that may wait: an insert beside them, for which somebody waits, may not.
The server heeds the second one where it may change its threads' priorities (CAP_SYS_NICE)."""


class ClickHouseSettings(Section):
    """Section CLICKHOUSE."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(gt=0, le=65_535)] = 8123
    user: str = "default"
    password: SecretStr = SecretStr("")
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] = "twinup"
    cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = ""
    """Name of the cluster whose replicas this is one of; empty is a single server."""
    secure: bool = False
    """TLS; the server's certificate and name are always verified."""
    ca_cert: FilePath | None = None
    """PEM file of the authority that signed the server's certificate, if it is no public one."""
    connect_timeout: Annotated[float, Field(gt=0)] = 5.0
    timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that one query or insert may take."""

    @field_validator("host")
    @classmethod
    def _host_without_native_port(cls, host: str) -> str:
        name, colon, port = host.rpartition(":")
        if colon and port.isdigit():
            hint = _native_hint(int(port)) or "give the port as TWINUP_CLICKHOUSE_PORT"
            raise ValueError(f"{host!r} holds a port; {hint}, and {name!r} as the host")
        return host

    @field_validator("port")
    @classmethod
    def _port_speaks_http(cls, port: int) -> int:
        if hint := _native_hint(port):
            raise ValueError(hint)
        return port

    @field_validator("ca_cert", mode="before")
    @classmethod
    def _empty_is_none(cls, path: Any) -> Any:
        return path or None

    @model_validator(mode="after")
    def _ca_cert_needs_tls(self) -> Self:
        if self.ca_cert is not None and not self.secure:
            raise ValueError("a ca_cert is of no use without TLS: TWINUP_CLICKHOUSE_SECURE=true")
        return self


def _native_hint(port: int) -> str | None:
    if port not in NATIVE_PORTS:
        return None
    http = 8123 if port == 9000 else 8443
    return (
        f"port {port} is ClickHouse's native protocol, but this system speaks its HTTP interface: "
        f"use port {http} (TWINUP_CLICKHOUSE_PORT={http})"
    )


async def connect(settings: ClickHouseSettings, **settings_of_queries: Any) -> AsyncClient:
    """Opens a client; no query is sent before the server has answered.

    Args:
        settings: where and as whom.
        settings_of_queries: ClickHouse settings sent with each query.

    Raises:
        ClickHouseError: when the server cannot be reached or refuses.
    """
    return await clickhouse_connect.get_async_client(
        host=settings.host,
        port=settings.port,
        username=settings.user,
        password=settings.password.get_secret_value(),
        database=settings.database,
        interface="https" if settings.secure else "http",
        connect_timeout=settings.connect_timeout,
        send_receive_timeout=settings.timeout,
        autogenerate_session_id=False,
        compress=False,
        query_retries=0,
        verify=True,
        ca_cert=str(settings.ca_cert) if settings.ca_cert else None,
        settings=(CLUSTER_SETTINGS if settings.cluster else {}) | settings_of_queries,
    )


def is_transient(error: BaseException) -> bool:
    """Tells whether the same query may succeed later: a part is down, busy or was cut off."""
    if isinstance(error, aiohttp.ClientError | asyncio.TimeoutError | OSError | OperationalError):
        return True
    if isinstance(error, DatabaseError):
        return error_code(error) in _TRANSIENT_CODES
    return False


def error_code(error: ClickHouseError) -> int | None:
    """Returns ClickHouse's number of the error, when its text has one."""
    _, found, rest = str(error).partition("Code: ")
    digits = rest.split(".", 1)[0] if found else ""
    return int(digits) if digits.isdigit() else None
