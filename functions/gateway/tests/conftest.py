"""The gateway on the real Redis and ClickHouse, called in process; auth's keys by real HTTP."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis

from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.adapters import clickhouse
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.jwks import key_set
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.adapters.sessions import session_key
from sensor_shared.contracts.api_keys import ApiKey
from sensor_shared.contracts.readings import SCHEMA
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines
from sensor_shared.testing.tokens import access_token

from .alert_world import alerts_service, breaches, facts

__all__ = ["alerts_service", "breaches", "facts"]
KID = "the-key"
BASE_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000
"""Midnight of a day in 2026, from which the test data go on."""
DEVICE = "weather_station_000001"


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@dataclass
class Issuer:
    """Serves a JWK set as auth does, and counts how often it is asked."""

    keys: dict[str, Any]
    url: str = ""
    asked: int = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(key_set(self.keys))


@pytest.fixture
async def issuer(key: Ed25519PrivateKey) -> AsyncIterator[Issuer]:
    made = Issuer({KID: key.public_key()})
    app = web.Application()
    app.router.add_get("/jwks.json", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks.json"
    yield made
    await runner.cleanup()


@pytest.fixture
def section() -> dict[str, Any]:
    """What a test module changes in the settings' section `gateway`."""
    return {}


@pytest.fixture
def alert_section() -> dict[str, Any]:
    """Section ALERTS: nobody listens there, unless a test module starts the alert service."""
    return {"target": "127.0.0.1:1"}


@pytest.fixture
def redis_timeout() -> float:
    """Seconds. A test of very many requests at once sets more: they keep the process, their client
    too, from reading Redis' answers in time."""
    return 1.0


@pytest.fixture
def made(
    lines: Lines,
    issuer: Issuer,
    section: dict[str, Any],
    alert_section: dict[str, Any],
    redis_timeout: float,
) -> Gateway:
    """The gateway before it is started."""
    sections = {
        "redis": {**lines.sections["redis"], "timeout": redis_timeout},
        "alerts": alert_section,
        "jwks": {"url": issuer.url},
        "gateway": {"probe_seconds": 0.2, **section},
        "limits": rest.UNLIMITED,
    }
    settings = GatewaySettings.model_validate({**lines.sections, **sections})
    return Gateway(settings, now_ms=lambda: BASE_MS + 60_000)


@pytest.fixture
async def gateway(made: Gateway) -> AsyncIterator[Gateway]:
    function = made
    await function.start()
    await until(function.ready)
    yield function
    await function.stop()


@pytest.fixture
async def redis(redis_server: Any, lines: Lines) -> AsyncIterator[Redis]:
    """Straight to Redis, past the line."""
    section = {**lines.sections["redis"], "port": redis_server.port}
    async with connect(RedisSettings.model_validate(section)) as client:
        yield client


@pytest.fixture
async def sql(clickhouse_server: Any, lines: Lines) -> AsyncIterator[Any]:
    """A client straight to ClickHouse, past the line."""
    section = {**lines.sections["clickhouse"], "port": clickhouse_server.port}
    client = await clickhouse.connect(ClickHouseSettings.model_validate(section))
    yield client
    await client.close()


async def add_key(sql: Any, owner: str = "machine", *scopes: str) -> str:
    """Stores a key as auth does, and returns it."""
    key, now = ApiKey.make(), datetime.now(UTC)
    row = {
        "id": key.id,
        "digest": hashlib.sha256(key.text.encode()).hexdigest(),
        "owner": owner,
        "name": "a machine",
        "scopes": list(scopes or ("devices:read", "readings:read")),
        "created_at": now,
        "expires_at": now + timedelta(days=1),
        "revoked_by": "",
        "version": 1,
    }
    await sql.insert("api_keys", [list(row.values())], column_names=list(row))
    user = [owner, "", "readonly", "", False, now, 1]
    columns = [
        *("username", "password_hash", "role", "email", "disabled", "created_at", "version"),
    ]
    await sql.insert("users", [user], column_names=columns)
    return key.text


@dataclass
class Caller:
    """Somebody with a session."""

    redis: Redis
    key: Ed25519PrivateKey

    async def token(self, role: str, life: int = 900) -> str:
        session = uuid.uuid4().hex
        await self.redis.set(session_key(session), "a refresh token's id", ex=60)
        return access_token(self.key, KID, role, session, life=life)


@pytest.fixture
async def served(made: Gateway, caller: "Caller") -> AsyncIterator[httpx.AsyncClient]:
    """A reader's client of the gateway behind uvicorn, as people reach it."""
    with ExitStack() as stack:
        url = await asyncio.to_thread(stack.enter_context, rest.served(made))
        headers = {"Authorization": f"Bearer {await caller.token('readonly')}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            await until(made.ready)
            yield client
        await asyncio.to_thread(stack.close)


@pytest.fixture
def caller(redis: Redis, key: Ed25519PrivateKey) -> Caller:
    return Caller(redis, key)


@pytest.fixture
async def anonymous(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with rest.client(gateway) as client:
        yield client


@pytest.fixture
async def http(gateway: Gateway, caller: Caller) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of a reader."""
    async with rest.client(gateway) as client:
        client.headers["Authorization"] = f"Bearer {await caller.token('readonly')}"
        yield client


@pytest.fixture
async def operator(gateway: Gateway, caller: Caller) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of somebody whose name and role are `user`."""
    async with rest.client(gateway) as client:
        client.headers["Authorization"] = f"Bearer {await caller.token('user')}"
        yield client


def moment(offset_ms: int) -> datetime:
    return datetime.fromtimestamp((BASE_MS + offset_ms) / 1000, UTC)


def readings_of(
    temperatures: Mapping[str, float], measured: datetime, *, region: str = "north"
) -> pa.RecordBatch:
    """A reading of each device, as the consumer gives them to Redis."""
    rows = [
        {
            "device_id": device_id,
            "timestamp": measured,
            "temperature": temperature,
            "humidity": 50.25,
            "pressure": None,
            "status": "active",
            "latitude": 40.5,
            "longitude": 27.25,
            "region": region,
        }
        for device_id, temperature in temperatures.items()
    ]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


async def add_reading(
    sql: Any, offset_ms: int, *, device: str = DEVICE, temperature: float | None = 21.5
) -> None:
    row = [device, moment(offset_ms), temperature, 50.25, None, "active"]
    columns = ["device_id", "timestamp", "temperature", "humidity", "pressure", "status"]
    await sql.insert("readings", [row], column_names=columns)


async def add_devices(sql: Any, *ids: str, region: str = "north") -> None:
    rows = [[id_, "weather_station", region, 40.5, 27.25, moment(0)] for id_ in ids]
    columns = ["device_id", "device_type", "region", "latitude", "longitude", "updated_at"]
    await sql.insert("devices", rows, column_names=columns)
