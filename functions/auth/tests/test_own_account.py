"""The caller's own sessions and password."""

import asyncio
from typing import Any

import httpx
import pytest

from sensor_auth.app import Auth
from sensor_auth.domain import WeakPasswordError
from sensor_auth.passwords import Passwords
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import CHEAP, PASSWORD, bearer, log_in

NEW = "another password of theirs"


async def status(http: httpx.AsyncClient, tokens: dict[str, Any]) -> int:
    headers = bearer(tokens["access_token"])
    return (await http.get("/auth/profile", headers=headers)).status_code


async def listed(http: httpx.AsyncClient, tokens: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await http.get("/auth/sessions", headers=bearer(tokens["access_token"]))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["sessions"]
    return found


async def change(
    http: httpx.AsyncClient, tokens: dict[str, Any], old: str, new: str
) -> httpx.Response:
    body = {"old_password": old, "new_password": new}
    return await http.post("/auth/password", json=body, headers=bearer(tokens["access_token"]))


@pytest.mark.integration
async def test_twenty_logins_at_once_leave_five_sessions(
    auth: Auth, http: httpx.AsyncClient
) -> None:
    pairs = await asyncio.gather(*(log_in(http, "user") for _ in range(20)))
    standing = [pair for pair in pairs if await status(http, pair) == 200]
    assert len(standing) == 5
    assert len(await listed(http, standing[0])) == 5


@pytest.mark.integration
async def test_refreshes_beside_logins_leave_five_sessions_and_none_of_the_ended_comes_back(
    http: httpx.AsyncClient,
) -> None:
    pairs = [await log_in(http, "user") for _ in range(5)]
    refreshes = (
        http.post("/auth/refresh", json={"refresh_token": pair["refresh_token"]}) for pair in pairs
    )
    answers = await asyncio.gather(*refreshes, *(log_in(http, "user") for _ in range(10)))
    everybody = pairs + [one for one in answers if isinstance(one, dict)]
    standing = [pair for pair in everybody if await status(http, pair) == 200]
    assert len(standing) == 5


@pytest.mark.integration
async def test_the_list_tells_where_and_when_each_session_was_used(
    auth: Auth, http: httpx.AsyncClient
) -> None:
    async with rest.client(auth, address="198.51.100.7") as elsewhere:
        elsewhere.headers["user-agent"] = "a phone\tof \u00fcmlaut".encode().decode("latin-1")
        there = await log_in(elsewhere, "user")
    here = await log_in(http, "user")
    first, second = await listed(http, here)
    assert (first["current"], second["current"]) == (True, False)
    assert second["address"] == "198.51.100.7"
    assert second["user_agent"].startswith("a phone?of")
    assert second["created_at"] == second["last_used_at"]
    await http.post("/auth/refresh", json={"refresh_token": there["refresh_token"]})
    used = (await listed(http, here))[0]
    assert used["id"] == second["id"]
    assert used["address"] == "192.0.2.1"
    assert used["last_used_at"] > used["created_at"] == second["created_at"]


@pytest.mark.integration
async def test_one_ends_ones_own_sessions_by_id_and_nobody_elses(http: httpx.AsyncClient) -> None:
    mine, other, theirs = (
        await log_in(http, "user"),
        await log_in(http, "user"),
        await log_in(http, "readonly"),
    )
    headers = bearer(mine["access_token"])
    [foreign] = await listed(http, theirs)
    answer = await http.delete(f"/auth/sessions/{foreign['id']}", headers=headers)
    assert answer.status_code == 404
    assert await status(http, theirs) == 200
    [there] = [one["id"] for one in await listed(http, mine) if not one["current"]]
    assert (await http.delete(f"/auth/sessions/{there}", headers=headers)).status_code == 204
    assert await status(http, other) == 401
    assert await status(http, mine) == 200
    assert (await http.delete(f"/auth/sessions/{there}", headers=headers)).status_code == 404


@pytest.mark.integration
async def test_a_logout_everywhere_ends_all_ones_sessions(http: httpx.AsyncClient) -> None:
    pairs = [await log_in(http, "user") for _ in range(3)]
    theirs = await log_in(http, "readonly")
    answer = await http.post("/auth/logout/all", headers=bearer(pairs[0]["access_token"]))
    assert (answer.status_code, answer.json()) == (200, {"ended": 3})
    assert {await status(http, pair) for pair in pairs} == {401}
    assert await status(http, theirs) == 200


@pytest.mark.integration
async def test_a_session_that_was_ended_everywhere_stays_ended_without_redis(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    pairs = [await log_in(http, "user") for _ in range(2)]
    await http.post("/auth/logout/all", headers=bearer(pairs[0]["access_token"]))
    await lines.redis.cut()
    assert {await status(http, pair) for pair in pairs} == {401}


@pytest.mark.integration
async def test_without_redis_sessions_are_neither_listed_nor_ended(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    tokens = await log_in(http, "user")
    headers = bearer(tokens["access_token"])
    await lines.redis.cut()
    assert (await http.get("/auth/sessions", headers=headers)).status_code == 503
    assert (await http.post("/auth/logout/all", headers=headers)).status_code == 503
    assert (await change(http, tokens, PASSWORD, NEW)).status_code == 503
    await lines.redis.mend()
    await log_in(http, "user")


@pytest.mark.integration
async def test_a_new_password_holds_at_once_and_ends_the_other_sessions(
    http: httpx.AsyncClient,
) -> None:
    here, there = await log_in(http, "user"), await log_in(http, "user")
    assert (await change(http, here, PASSWORD, NEW)).status_code == 204
    assert await status(http, here) == 200
    assert await status(http, there) == 401
    refused = {"username": "user", "password": PASSWORD}
    assert (await http.post("/auth/login", json=refused)).status_code == 401
    accepted = {"username": "user", "password": NEW}
    assert (await http.post("/auth/login", json=accepted)).status_code == 200


@pytest.mark.integration
async def test_no_login_with_the_old_password_outlives_its_change(http: httpx.AsyncClient) -> None:
    """Whichever comes first: sessions of logins that ran beside the change have ended or are
    refused, so that the one who changed it is alone."""
    here = await log_in(http, "user")
    body = {"username": "user", "password": PASSWORD}
    logins = [http.post("/auth/login", json=body) for _ in range(4)]
    changed, *answers = await asyncio.gather(change(http, here, PASSWORD, NEW), *logins)
    assert changed.status_code == 204
    opened = [answer.json() for answer in answers if answer.status_code == 200]
    assert {await status(http, pair) for pair in opened} <= {401}
    assert await status(http, here) == 200


@pytest.mark.integration
async def test_who_holds_a_session_cannot_guess_its_password(http: httpx.AsyncClient) -> None:
    stolen = await log_in(http, "user")
    statuses = [(await change(http, stolen, "a guess", NEW)).status_code for _ in range(6)]
    assert statuses == [403] * 5 + [429]
    assert (await change(http, stolen, PASSWORD, NEW)).status_code == 429


@pytest.mark.integration
@pytest.mark.parametrize("new", ["short", PASSWORD, "aaaaaaaaaaaaaaaa", "useruser1234"])
async def test_a_password_that_is_no_good_changes_nothing(
    http: httpx.AsyncClient, new: str
) -> None:
    tokens = await log_in(http, "user")
    answer = await change(http, tokens, PASSWORD, new)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert new not in answer.text
    assert await status(http, await log_in(http, "user")) == 200


@pytest.mark.parametrize(
    ("password", "good"),
    [
        ("correct horse battery", True),
        ("\u00fc\u4f60\u597d\U0001f511 abcdefghi", True),
        ("eleven char", False),
        ("e\u0301" * 11, False),
        ("abababababab", False),
        ("maximiliane.m", False),
        ("m.enailimixam", False),
        ("Maximiliane.M2026", False),
        ("maximiliane.m is it not", True),
    ],
)
def test_length_counts_and_the_user_name_does_not(password: str, *, good: bool) -> None:
    passwords = Passwords(CHEAP)
    if good:
        passwords.check_new(password, "maximiliane.m")
    else:
        with pytest.raises(WeakPasswordError) as raised:
            passwords.check_new(password, "maximiliane.m")
        assert password not in str(raised.value)
    passwords.close()


async def test_the_same_characters_typed_in_another_way_are_the_same_password() -> None:
    passwords = Passwords(CHEAP)
    hashed = await passwords.hash("caf\u00e9 au lait, s'il vous plait")
    assert await passwords.verify(hashed, "cafe\u0301 au lait, s'il vous plait")
    passwords.close()
