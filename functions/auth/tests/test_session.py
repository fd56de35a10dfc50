"""Login, refresh, logout and lock-out, on the real Redis and ClickHouse."""

import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sensor_auth.app import Auth
from sensor_shared.adapters.jwks import read_keys
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import PASSWORD, bearer, log_in, running, settings_of, until

pytestmark = pytest.mark.integration


async def test_a_login_yields_tokens_that_the_published_key_verifies(
    http: httpx.AsyncClient,
) -> None:
    tokens = await log_in(http)
    assert tokens["expires_in"] == 900
    assert tokens["token_type"] == "Bearer"
    keys = read_keys((await http.get("/.well-known/jwks.json")).content)
    header = jwt.get_unverified_header(tokens["access_token"])
    claims = jwt.decode(
        tokens["access_token"],
        keys[header["kid"]],
        algorithms=["EdDSA"],
        audience="twinup",
        issuer="twinup-auth",
    )
    assert header["typ"] == "at+jwt"
    assert (claims["sub"], claims["role"]) == ("admin", "admin")
    assert claims["exp"] - claims["iat"] == 900
    assert claims["iat"] == claims["nbf"] == pytest.approx(time.time(), abs=60)
    assert claims["sid"]
    assert claims["jti"]


async def test_a_refresh_yields_a_new_pair_of_the_same_session(http: httpx.AsyncClient) -> None:
    first = await log_in(http, "user")
    answer = await http.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert answer.status_code == 200
    second = answer.json()
    assert second["refresh_token"] != first["refresh_token"]
    verified = [
        (await http.post("/auth/verify", headers=bearer(pair["access_token"]))).json()
        for pair in (first, second)
    ]
    assert verified[0]["session"] == verified[1]["session"]
    assert verified[1]["username"] == "user"


async def test_a_refresh_token_from_before_the_last_one_ends_the_whole_session(
    http: httpx.AsyncClient,
) -> None:
    first = await log_in(http)
    old = {"refresh_token": first["refresh_token"]}
    second = (await http.post("/auth/refresh", json=old)).json()
    used = {"refresh_token": second["refresh_token"]}
    second = (await http.post("/auth/refresh", json=used)).json()
    assert (await http.post("/auth/refresh", json=old)).status_code == 401
    newest = {"refresh_token": second["refresh_token"]}
    assert (await http.post("/auth/refresh", json=newest)).status_code == 401
    answer = await http.get("/auth/profile", headers=bearer(second["access_token"]))
    assert answer.status_code == 401


async def test_a_logout_ends_the_session_and_no_other(http: httpx.AsyncClient) -> None:
    here, there = await log_in(http), await log_in(http)
    answer = await http.post("/auth/logout", headers=bearer(here["access_token"]))
    assert (answer.status_code, answer.content) == (204, b"")
    assert (
        await http.get("/auth/profile", headers=bearer(here["access_token"]))
    ).status_code == 401
    refresh = await http.post("/auth/refresh", json={"refresh_token": here["refresh_token"]})
    assert refresh.status_code == 401
    assert (
        await http.get("/auth/profile", headers=bearer(there["access_token"]))
    ).status_code == 200


async def test_the_sixth_session_ends_the_oldest(http: httpx.AsyncClient) -> None:
    pairs = [await log_in(http) for _ in range(6)]
    statuses = [
        (await http.get("/auth/profile", headers=bearer(pair["access_token"]))).status_code
        for pair in pairs
    ]
    assert statuses == [401, 200, 200, 200, 200, 200]


async def test_unknown_user_wrong_password_and_disabled_account_look_the_same(
    http: httpx.AsyncClient,
) -> None:
    answers = [
        await http.post("/auth/login", json={"username": name, "password": password})
        for name, password in (
            ("nobody", PASSWORD),
            ("user", "wrong"),
            ("gone", PASSWORD),
            ("user", "user"),
            ("admin", "admin123"),
        )
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (401, answers[0].content)
    }
    assert answers[0].headers["www-authenticate"] == "Bearer"


async def test_five_failures_lock_this_user_from_this_address_only(
    auth: Auth, http: httpx.AsyncClient
) -> None:
    wrong = {"username": "user", "password": "wrong"}
    right = {"username": "user", "password": PASSWORD}
    statuses = [(await http.post("/auth/login", json=wrong)).status_code for _ in range(5)]
    assert statuses == [401] * 5
    locked = await http.post("/auth/login", json=right)
    assert locked.status_code == 429
    assert 0 < int(locked.headers["retry-after"]) <= 900
    other = {"username": "readonly", "password": PASSWORD}
    assert (await http.post("/auth/login", json=other)).status_code == 200
    async with rest.client(auth, address="192.0.2.2") as elsewhere:
        assert (await elsewhere.post("/auth/login", json=right)).status_code == 200


async def test_a_name_that_nobody_has_is_locked_in_the_same_way(http: httpx.AsyncClient) -> None:
    wrong = {"username": "nobody", "password": "wrong"}
    statuses = [(await http.post("/auth/login", json=wrong)).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]


async def test_a_success_forgets_the_failures(http: httpx.AsyncClient) -> None:
    wrong = {"username": "user", "password": "wrong"}
    for _ in range(2):
        for _ in range(4):
            assert (await http.post("/auth/login", json=wrong)).status_code == 401
        await log_in(http, "user")


async def test_without_redis_one_can_log_in_and_failures_are_counted(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    await lines.redis.cut()
    tokens = await log_in(http, "user")
    answer = await http.get("/auth/profile", headers=bearer(tokens["access_token"]))
    assert answer.status_code == 200
    wrong = {"username": "readonly", "password": "wrong"}
    statuses = [(await http.post("/auth/login", json=wrong)).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    refresh = await http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refresh.status_code == 503


async def test_a_session_that_was_ended_stays_ended_when_redis_goes_away(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    tokens = await log_in(http)
    await http.post("/auth/logout", headers=bearer(tokens["access_token"]))
    await lines.redis.cut()
    answer = await http.get("/auth/profile", headers=bearer(tokens["access_token"]))
    assert answer.status_code == 401


async def test_an_emptied_redis_costs_a_new_login_and_no_more(
    redis_server: Any, worker_id: str, http: httpx.AsyncClient
) -> None:
    ended, standing = await log_in(http), await log_in(http)
    await http.post("/auth/logout", headers=bearer(ended["access_token"]))
    await rest.empty_database(redis_server.host, redis_server.port, worker_id)
    for tokens in (ended, standing):
        answer = await http.get("/auth/profile", headers=bearer(tokens["access_token"]))
        assert answer.status_code == 401
    await log_in(http)


@pytest.mark.parametrize("away", ["redis", "clickhouse"])
async def test_a_logout_is_not_confirmed_before_both_have_it(
    lines: Lines, http: httpx.AsyncClient, away: str
) -> None:
    tokens = await log_in(http)
    headers = bearer(tokens["access_token"])
    line = getattr(lines, away)
    await line.cut()
    assert (await http.post("/auth/logout", headers=headers)).status_code == 503
    # The part that is left keeps the session out already.
    assert (await http.get("/auth/profile", headers=headers)).status_code == 401
    await line.mend()


async def test_with_clickhouse_away_a_user_seen_lately_can_log_in(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    await log_in(http, "user")
    await lines.clickhouse.cut()
    await log_in(http, "user")
    unseen = {"username": "readonly", "password": PASSWORD}
    answer = await http.post("/auth/login", json=unseen)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_when_nobody_can_tell_whether_the_session_stands_nobody_is_let_in(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    tokens = await log_in(http)
    await lines.redis.cut()
    await lines.clickhouse.cut()
    answer = await http.get("/auth/profile", headers=bearer(tokens["access_token"]))
    assert answer.status_code == 503


async def test_a_token_of_another_issuer_with_the_same_key_is_refused(
    lines: Lines, key_file: Path, key: Ed25519PrivateKey, http: httpx.AsyncClient
) -> None:
    async with running(settings_of(lines, key_file, issuer="somebody-else")) as other:
        await until(other.ready)
        async with rest.client(other) as client:
            tokens = await log_in(client)
    answer = await http.get("/auth/profile", headers=bearer(tokens["access_token"]))
    assert answer.status_code == 401
