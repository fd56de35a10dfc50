"""Guessing from many addresses, many names from one, and many at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sensor_auth.app import Auth
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import PASSWORD, add_users, log_in, running, settings_of, until

pytestmark = pytest.mark.integration
FREE = 10
WRONG = "wrong"


@pytest.fixture
async def slow(lines: Lines, key_file: Path) -> AsyncIterator[Auth]:
    """Auth that slows down after ten failures, by a minute a try: no test lasts that long."""
    async with slowing_down(lines, key_file, slow_failures=FREE, slow_seconds=60) as function:
        yield function


@asynccontextmanager
async def slowing_down(lines: Lines, key_file: Path, **policy: int) -> AsyncIterator[Auth]:
    async with running(settings_of(lines, key_file, **policy)) as function:
        await until(function.ready)
        await add_users(lines)
        yield function


async def attempt(auth: Auth, address: str, username: str, password: str = WRONG) -> httpx.Response:
    async with rest.client(auth, address=address) as http:
        body = {"username": username, "password": password}
        return await http.post("/auth/login", json=body)


async def test_one_user_guessed_from_many_addresses_is_slowed_down_and_never_locked_out(
    slow: Auth,
) -> None:
    assert (await attempt(slow, "203.0.113.1", "user", PASSWORD)).status_code == 200
    for number in range(FREE):
        assert (await attempt(slow, f"198.51.100.{number}", "user")).status_code == 401
    refused = await attempt(slow, "198.51.100.200", "user")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    # From where the user has been before nothing has changed.
    assert (await attempt(slow, "203.0.113.1", "user", PASSWORD)).status_code == 200
    # From elsewhere the user waits for a moment.
    assert (await attempt(slow, "203.0.113.2", "user", PASSWORD)).status_code == 429


async def test_who_is_slowed_down_may_try_again_when_the_answer_says(
    lines: Lines, key_file: Path
) -> None:
    async with slowing_down(lines, key_file, slow_failures=1, slow_seconds=4) as auth:
        assert (await attempt(auth, "198.51.100.1", "user")).status_code == 401
        refused = await attempt(auth, "203.0.113.2", "user", PASSWORD)
        assert refused.status_code == 429
        await asyncio.sleep(int(refused.headers["retry-after"]) + 0.1)
        assert (await attempt(auth, "203.0.113.2", "user", PASSWORD)).status_code == 200


async def test_one_address_cannot_use_up_a_users_tries_for_others(slow: Auth) -> None:
    statuses = [(await attempt(slow, "198.51.100.1", "user")).status_code for _ in range(50)]
    assert statuses[:6] == [401] * 5 + [429]
    assert (await attempt(slow, "203.0.113.2", "user", PASSWORD)).status_code == 200


async def test_many_names_from_one_address_are_slowed_down_and_other_addresses_are_not(
    slow: Auth,
) -> None:
    for number in range(FREE):
        assert (await attempt(slow, "198.51.100.1", f"name-{number}")).status_code == 401
    assert (await attempt(slow, "198.51.100.1", "one-more")).status_code == 429
    assert (await attempt(slow, "198.51.100.2", "user", PASSWORD)).status_code == 200


async def test_the_addresses_of_one_ipv6_customer_are_one(slow: Auth) -> None:
    answers = [(await attempt(slow, f"2001:db8:0:1::{n}", "user")).status_code for n in range(6)]
    assert answers == [401] * 5 + [429]
    assert (await attempt(slow, "2001:db8:0:2::1", "user", PASSWORD)).status_code == 200


async def test_right_logins_use_nothing_up(slow: Auth) -> None:
    for _ in range(2 * FREE):
        assert (await attempt(slow, "198.51.100.1", "user", PASSWORD)).status_code == 200


async def test_of_many_guesses_at_the_same_time_five_are_looked_at(http: httpx.AsyncClient) -> None:
    body = {"username": "user", "password": "wrong"}
    answers = await asyncio.gather(*(http.post("/auth/login", json=body) for _ in range(30)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [401] * 5 + [429] * 25


async def test_many_right_logins_at_the_same_time_all_succeed(http: httpx.AsyncClient) -> None:
    await asyncio.gather(*(log_in(http, "user") for _ in range(30)))


async def test_while_clickhouse_is_away_nobody_is_locked_out_by_trying(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    await lines.clickhouse.cut()
    body = {"username": "user", "password": PASSWORD}
    statuses = {(await http.post("/auth/login", json=body)).status_code for _ in range(8)}
    assert statuses == {503}
    await lines.clickhouse.mend()
    async with asyncio.timeout(20):
        while (await http.post("/auth/login", json=body)).status_code == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await log_in(http, "user")


async def test_without_redis_many_names_from_one_address_are_slowed_down_too(
    lines: Lines, slow: Auth
) -> None:
    await lines.redis.cut()
    statuses = [
        (await attempt(slow, "198.51.100.1", f"name-{n}")).status_code for n in range(FREE + 1)
    ]
    assert statuses == [401] * FREE + [429]
