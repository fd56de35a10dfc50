"""Logins and refreshes from one address, on the real Redis."""

import asyncio
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY

from sensor_auth.app import Auth
from sensor_auth.settings import AuthSettings
from sensor_shared.runtime.http.settings import LimitSettings
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import bearer, log_in, running, settings_of, until

pytestmark = pytest.mark.integration
GUESS = {"username": "somebody", "password": "a guess"}


def narrow(lines: Lines, key_file: Path) -> AuthSettings:
    limits = LimitSettings(
        login_burst=3, login_per_minute=0.1, refresh_burst=2, refresh_per_minute=0.1
    )
    return settings_of(lines, key_file, max_failures=100).model_copy(update={"limits": limits})


async def test_guesses_from_one_address_end_whatever_name_they_are_for(
    lines: Lines, key_file: Path
) -> None:
    async with running(narrow(lines, key_file)) as one, running(narrow(lines, key_file)) as other:
        await until(lambda: one.ready() and other.ready())
        statuses = []
        for number in range(6):  # two replicas share the bucket
            body = GUESS | {"username": f"user-{number}"}
            statuses.append(await status(one if number % 2 else other, "/auth/login", body))
        assert statuses == [401] * 3 + [429] * 3
        assert await status(one, "/auth/login", GUESS, address="192.0.2.77") == 401


async def test_refreshes_have_a_bucket_of_their_own(lines: Lines, key_file: Path) -> None:
    async with running(narrow(lines, key_file)) as auth:
        await until(auth.ready)
        body = {"refresh_token": "nothing"}
        statuses = [await status(auth, "/auth/refresh", body) for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert await status(auth, "/auth/login", GUESS) == 401


async def test_logins_are_limited_without_redis_too(lines: Lines, key_file: Path) -> None:
    async with running(narrow(lines, key_file)) as auth:
        await until(auth.ready)
        await lines.redis.cut()
        statuses = [await status(auth, "/auth/login", GUESS) for _ in range(5)]
        assert statuses == [401] * 3 + [429] * 2


async def test_who_is_refused_is_told_when_to_come_back(lines: Lines, key_file: Path) -> None:
    async with running(narrow(lines, key_file)) as auth, rest.client(auth) as http:
        await until(auth.ready)
        answers = [await http.post("/auth/login", json=GUESS) for _ in range(4)]
        assert answers[0].headers["ratelimit"] == '"login";r=2;t=600'
        refused = answers[-1]
        assert refused.status_code == 429
        assert 590 <= int(refused.headers["retry-after"]) <= 600
        assert refused.headers["ratelimit-policy"] == '"login";q=3;w=1800'
        assert refused.headers["content-type"] == "application/problem+json"


async def status(auth: Auth, path: str, body: dict[str, str], *, address: str = "192.0.2.1") -> int:
    async with rest.client(auth, address=address) as http:
        return (await http.post(path, json=body)).status_code


async def test_more_requests_at_a_time_than_connections_to_redis_all_go_by_redis(
    http: httpx.AsyncClient, lines: Lines
) -> None:
    headers = bearer((await log_in(http))["access_token"])
    await lines.clickhouse.cut()  # nobody else can tell whether the session stands
    answers = await asyncio.gather(
        *(http.post("/auth/verify", headers=headers) for _ in range(150))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert REGISTRY.get_sample_value("sensor_http_limits_local") == 0
