"""Refresh tokens, used once and once more, one after the other and at the same time."""

import asyncio
from pathlib import Path

import httpx
import jwt
import pytest

from sensor_auth.app import Auth
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import bearer, log_in, running, settings_of, until

pytestmark = pytest.mark.integration


async def refresh(http: httpx.AsyncClient, token: str) -> httpx.Response:
    return await http.post("/auth/refresh", json={"refresh_token": token})


async def stands(http: httpx.AsyncClient, access_token: str) -> bool:
    answer = await http.get("/auth/profile", headers=bearer(access_token))
    return answer.status_code == 200


def token_id(answer: httpx.Response) -> str:
    claims = jwt.decode(answer.json()["refresh_token"], options={"verify_signature": False})
    return str(claims["jti"])


async def test_a_client_that_lost_the_answer_gets_the_same_refresh_token_again(
    http: httpx.AsyncClient,
) -> None:
    old = (await log_in(http))["refresh_token"]
    lost, again = await refresh(http, old), await refresh(http, old)
    assert (lost.status_code, again.status_code) == (200, 200)
    # One refresh token holds at any time: nobody who repeats gets a line of tokens of his own.
    assert token_id(lost) == token_id(again)
    assert (await refresh(http, again.json()["refresh_token"])).status_code == 200


async def test_the_same_refresh_token_twenty_times_at_once_has_one_successor(
    http: httpx.AsyncClient,
) -> None:
    old = (await log_in(http))["refresh_token"]
    answers = await asyncio.gather(*(refresh(http, old) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({token_id(answer) for answer in answers}) == 1


async def test_a_thief_who_comes_later_than_the_owner_ends_the_session(
    lines: Lines, key_file: Path
) -> None:
    async with running(settings_of(lines, key_file, refresh_repeat_seconds=0.2)) as auth:
        await until(auth.ready)
        async with rest.client(auth) as http:
            stolen = (await log_in(http))["refresh_token"]
            owner = (await refresh(http, stolen)).json()
            await asyncio.sleep(0.3)
            assert (await refresh(http, stolen)).status_code == 401
            assert not await stands(http, owner["access_token"])
            assert (await refresh(http, owner["refresh_token"])).status_code == 401


async def test_a_thief_who_comes_first_is_out_when_the_owner_comes(
    lines: Lines, key_file: Path
) -> None:
    async with running(settings_of(lines, key_file, refresh_repeat_seconds=0.2)) as auth:
        await until(auth.ready)
        async with rest.client(auth) as http:
            stolen = (await log_in(http))["refresh_token"]
            thief = (await refresh(http, stolen)).json()
            await asyncio.sleep(0.3)
            assert (await refresh(http, stolen)).status_code == 401
            assert not await stands(http, thief["access_token"])


async def test_without_a_time_for_repetitions_one_of_two_at_once_wins_and_the_session_ends(
    lines: Lines, key_file: Path
) -> None:
    async with running(settings_of(lines, key_file, refresh_repeat_seconds=0)) as auth:
        await until(auth.ready)
        async with rest.client(auth) as http:
            old = (await log_in(http))["refresh_token"]
            answers = await asyncio.gather(refresh(http, old), refresh(http, old))
            assert sorted(answer.status_code for answer in answers) == [200, 401]
            [winner] = [answer.json() for answer in answers if answer.status_code == 200]
            assert not await stands(http, winner["access_token"])


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 4096])
async def test_what_is_no_refresh_token_is_refused(http: httpx.AsyncClient, token: str) -> None:
    assert (await refresh(http, token)).status_code in {401, 422}


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(
    auth: Auth, http: httpx.AsyncClient
) -> None:
    tokens = await log_in(http)
    assert (await refresh(http, tokens["access_token"])).status_code == 401
    assert not await stands(http, tokens["refresh_token"])


async def test_a_role_that_was_changed_is_in_the_next_login_and_no_old_token_holds(
    http: httpx.AsyncClient,
) -> None:
    admin = bearer((await log_in(http))["access_token"])
    tokens = await log_in(http, "user")
    changed = await http.patch("/auth/admin/users/user", json={"role": "readonly"}, headers=admin)
    assert changed.status_code == 200
    assert not await stands(http, tokens["access_token"])
    assert (await refresh(http, tokens["refresh_token"])).status_code == 401
    fresh = bearer((await log_in(http, "user"))["access_token"])
    assert (await http.post("/auth/verify", headers=fresh)).json()["role"] == "readonly"
