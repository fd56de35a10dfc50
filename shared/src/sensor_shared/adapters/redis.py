"""Redis: settings and connection. What it holds can be rebuilt, so calls are kept short."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

import hiredis
from pydantic import Field, SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisAwayError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.typing import EncodableT

from sensor_shared.runtime.settings import Section


class RedisSettings(Section):
    """Section REDIS."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(gt=0, le=65_535)] = 6379
    password: SecretStr | None = None
    db: Annotated[int, Field(ge=0)] = 0
    secure: bool = False
    timeout: Annotated[float, Field(gt=0)] = 1.0
    """Seconds that one command may take."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Arguments of a command that are encoded already (RESP); they may only be its last."""

    count: int
    arguments: bytes


class _PackedInC:
    """Encodes commands with hiredis, as the blocking client does by itself.

    In Python the encoding is the dearest part of a command with hundreds of arguments: 3.3 ms
    for 3,000 of them, instead of 0.8.
    """

    def pack_command(self, *args: EncodableT | Encoded) -> list[bytes]:
        name = args[0].split() if isinstance(args[0], str | bytes) else [args[0]]
        *rest, last = args[1:] or (None,)
        if not isinstance(last, Encoded):
            return [hiredis.pack_command((*name, *args[1:]))]
        packed = hiredis.pack_command((*name, *rest))
        # An array begins with the number of what is in it.
        start, end, others = packed.partition(b"\r\n")
        return [b"*%d%s%s" % (int(start[1:]) + last.count, end, others), last.arguments]


class _Breaker:
    """After a timeout nobody waits for the next one: for a while all commands fail at once."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._until = float("-inf")

    def open(self) -> None:
        self._until = time.monotonic() + self._seconds

    def check(self) -> None:
        if time.monotonic() < self._until:
            raise RedisAwayError("Redis did not answer just now")


class _Breaking:
    """Tells the breaker of timeouts, and heeds it before a command is tried again."""

    def __init__(self, *, breaker: _Breaker, **arguments: Any):
        super().__init__(**arguments)
        self._breaker = breaker

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        self._breaker.check()
        await super().connect_check_health(*args, **options)  # type: ignore[misc]

    async def disconnect(self, *args: Any, **options: Any) -> None:
        if isinstance(options.get("error"), RedisTimeoutError):
            self._breaker.open()
        await super().disconnect(*args, **options)  # type: ignore[misc]


class _Connection(_PackedInC, _Breaking, Connection):
    pass


class _SecureConnection(_PackedInC, _Breaking, SSLConnection):
    pass


class _Pool(BlockingConnectionPool):
    """Heeds the breaker before a connection is taken."""

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        self.connection_kwargs["breaker"].check()
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]


def connect(settings: RedisSettings, *, wait: float | None = None, pause: float = 0.0) -> Redis:
    """Returns a client; it connects with its first command, and again after a failure.

    Args:
        settings: where and as whom.
        wait: seconds that a command waits for one of the connections (100) when all are in use;
            None: it fails at once.
        pause: seconds for which, after one took longer than it may, all commands fail at once.
    """
    password = settings.password.get_secret_value() if settings.password else None
    redis = Redis(
        host=settings.host,
        port=settings.port,
        password=password,
        db=settings.db,
        ssl=settings.secure,
        socket_timeout=settings.timeout,
        socket_connect_timeout=settings.timeout,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), retries=1),
    )
    pool = redis.connection_pool
    pool.connection_kwargs["breaker"] = _Breaker(pause)
    pool.connection_class = _SecureConnection if settings.secure else _Connection
    if wait is None:
        return redis
    return Redis.from_pool(
        _Pool(
            max_connections=pool.max_connections,
            timeout=wait,
            connection_class=pool.connection_class,
            **pool.connection_kwargs,
        )
    )
