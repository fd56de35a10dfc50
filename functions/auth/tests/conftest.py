"""The auth service on the real Redis and ClickHouse, called in process."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sensor_auth.app import Auth
from sensor_auth.passwords import Passwords
from sensor_auth.settings import AuthSettings, PasswordSettings
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.access import Role
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

ADMIN_PASSWORD = "the first admin's own"
PASSWORD = "a password of theirs"
WIDE = {"login_burst": 1_000, "refresh_burst": 1_000}
"""Tests log in more often than people; those of the limits say their own."""
CHEAP = PasswordSettings(time_cost=1, memory_kib=64, parallelism=1)


def pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def key_file(tmp_path: Path, key: Ed25519PrivateKey) -> Path:
    path = tmp_path / "signing-key.pem"
    path.write_bytes(pem(key))
    return path


def settings_of(lines: Lines, key_file: Path, **policy: Any) -> AuthSettings:
    auth = {"signing_key_file": key_file, "admin_password": ADMIN_PASSWORD, **policy}
    sections = {**lines.sections, "passwords": CHEAP, "auth": auth, "limits": WIDE}
    return AuthSettings.model_validate(sections)


@asynccontextmanager
async def running(settings: AuthSettings, shown_on: io.StringIO | None = None) -> Any:
    function = Auth(settings, shown_on=shown_on or io.StringIO())
    await function.start()
    try:
        yield function
    finally:
        await function.stop()


@pytest.fixture
async def auth(lines: Lines, key_file: Path) -> AsyncIterator[Auth]:
    async with running(settings_of(lines, key_file)) as function:
        await until(function.ready)
        await add_users(lines)
        yield function


async def add_users(lines: Lines) -> None:
    """Adds a user of each other role, named like it, and one who is disabled."""
    passwords = Passwords(CHEAP)
    database = Database(ClickHouseSettings.model_validate(lines.sections["clickhouse"]))
    users = [(role, role, False) for role in ("user", "readonly")] + [("gone", "user", True)]
    for name, role, disabled in users:
        row = {
            "username": name,
            "password_hash": await passwords.hash(PASSWORD),
            "role": role,
            "email": f"{name}@example.com",
            "disabled": disabled,
            "version": 1,
        }
        await database.insert("users", row)
    await database.close()
    passwords.close()


@pytest.fixture
async def http(auth: Auth) -> AsyncIterator[httpx.AsyncClient]:
    async with rest.client(auth) as client:
        yield client


def password_of(role: str) -> str:
    return ADMIN_PASSWORD if role == Role.ADMIN else PASSWORD


async def log_in(http: httpx.AsyncClient, username: str = "admin") -> dict[str, Any]:
    body = {"username": username, "password": password_of(username)}
    answer = await http.post("/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
