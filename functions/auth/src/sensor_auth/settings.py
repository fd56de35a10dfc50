"""What the auth service is told."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.runtime.http.settings import (
    CorsSettings,
    LimitSettings,
    RestServerSettings,
)
from sensor_shared.runtime.settings import Section, Settings
from sensor_shared.telemetry.logs import LoggerSettings

Positive = Annotated[int, Field(gt=0)]


class ListenSettings(RestServerSettings):
    """Section SERVER; what a login sends is small."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8082


class PolicySettings(Section):
    """Section AUTH."""

    signing_key_file: Path
    """Ed25519 private key, PKCS #8 in PEM. It has no default: without it nothing starts."""
    keys_dir: Path | None = None
    """Its files *.pem, private or public keys, are published too: the next key and old ones."""
    keys_seconds: Annotated[float, Field(gt=0)] = 10.0
    """How often both are looked at, so that a new key needs no restart."""
    issuer: str = "twinup-auth"
    audience: str = "twinup"
    access_seconds: Positive = 15 * 60
    refresh_seconds: Positive = 24 * 60 * 60
    refresh_repeat_seconds: Annotated[float, Field(ge=0, le=60)] = 10.0
    """So long the refresh token before the current one may be sent again, as a client does that
    has lost the answer; 0 takes every repetition for a theft."""
    max_sessions: Positive = 5
    """Of one user; the oldest ends when one more is opened."""
    max_failures: Positive = 5
    """Failed logins of one user from one address before the lock."""
    failure_seconds: Positive = 15 * 60
    """How long failures count, from the first of them."""
    slow_failures: Positive = 50
    """Failed logins of one user from many addresses, or of many users from one address, before
    each further try must wait its turn ..."""
    slow_seconds: Annotated[float, Field(gt=0)] = 3.0
    """... which comes after so many seconds; as long as that one failure is remembered."""
    known_address_days: Positive = 30
    """So long an address from which a user has logged in is not slowed down for that user."""
    admin_password: Annotated[SecretStr, Field(min_length=12)] | None = None
    """Of the first admin; made and shown once when it is not given."""


class PasswordSettings(Section):
    """Section PASSWORDS: what a guess costs (argon2id). RFC 9106's second recommendation."""

    time_cost: Positive = 3
    memory_kib: Annotated[int, Field(ge=8)] = 64 * 1024
    parallelism: Positive = 4
    concurrency: Positive = 2
    """Hashes computed at the same time; each takes the memory above."""
    waiting: Positive = 64
    """Logins that wait for one of them; more are answered 503."""
    min_length: Annotated[int, Field(ge=8, le=64)] = 12
    """Characters of a new password."""


class KeySettings(Section):
    """Section KEYS: API keys of machines."""

    default_days: Positive = 90
    """Life of a key whose maker does not say."""
    max_days: Positive = 365
    max_per_user: Positive = 20
    """Keys of one user that have neither expired nor been revoked."""


class AuthSettings(Settings):
    """All of it."""

    auth: Annotated[PolicySettings, Field(default_factory=dict, validate_default=True)]
    """Validated when it is missing too, so that the mistake names the key."""
    passwords: PasswordSettings = PasswordSettings()
    keys: KeySettings = KeySettings()
    server: ListenSettings = ListenSettings()
    limits: LimitSettings = LimitSettings()
    cors: CorsSettings = CorsSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    redis: RedisSettings = RedisSettings()
    logger: LoggerSettings = LoggerSettings()
