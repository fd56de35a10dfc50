"""Redis: settings and connection. What it holds can be rebuilt, so calls are kept short."""

from typing import Annotated

from pydantic import Field, SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

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


def connect(settings: RedisSettings) -> Redis:
    """Returns a client; it connects with its first command, and again after a failure."""
    password = settings.password.get_secret_value() if settings.password else None
    return Redis(
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
