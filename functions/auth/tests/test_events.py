"""The security log as admins read it."""

import asyncio
from typing import Any

import httpx
import pytest

from sensor_shared.testing.parts import Lines

from .conftest import PASSWORD, bearer, log_in

pytestmark = pytest.mark.integration
EVENTS = "/auth/admin/events"


async def read(http: httpx.AsyncClient, token: str, **wanted: Any) -> dict[str, Any]:
    answer = await http.get(EVENTS, params=wanted, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def found(
    http: httpx.AsyncClient, token: str, count: int, **wanted: Any
) -> list[dict[str, Any]]:
    """Returns the events as soon as there are so many."""
    async with asyncio.timeout(20):
        while len(events := (await read(http, token, **wanted))["events"]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert len(events) == count
    return list(events)


async def test_what_matters_for_security_is_told_with_who_whom_and_from_where(
    http: httpx.AsyncClient,
) -> None:
    admin = (await log_in(http))["access_token"]
    tokens = await log_in(http, "user")
    await http.post("/auth/login", json={"username": "user", "password": "wrong"})
    old = {"refresh_token": tokens["refresh_token"]}
    await http.post("/auth/refresh", json=old)
    await http.post("/auth/refresh", json=old)
    headers = bearer(tokens["access_token"])
    body = {"old_password": PASSWORD, "new_password": "another password of theirs"}
    await http.post("/auth/password", json=body, headers=headers)
    await http.post("/auth/logout", headers=headers)
    await http.patch("/auth/admin/users/user", json={"role": "readonly"}, headers=bearer(admin))
    events = await found(http, admin, 6, username="user")
    assert [one["event"] for one in reversed(events)] == [
        "login.ok",
        "login.failed",
        "refresh.repeated",
        "password.changed",
        "session.ended",
        "user.changed",
    ]
    changed = next(one for one in events if one["event"] == "user.changed")
    assert (changed["actor"], changed["detail"]) == ("admin", "role readonly")
    assert {one["address"] for one in events} == {"192.0.2.1"}
    assert all(one["request_id"] for one in events)


async def test_a_refresh_token_that_was_reused_is_told(http: httpx.AsyncClient) -> None:
    admin = (await log_in(http))["access_token"]
    tokens = await log_in(http, "user")
    first = {"refresh_token": tokens["refresh_token"]}
    second = (await http.post("/auth/refresh", json=first)).json()
    await http.post("/auth/refresh", json={"refresh_token": second["refresh_token"]})
    await http.post("/auth/refresh", json=first)
    [event] = await found(http, admin, 1, event="refresh.reused")
    assert event["username"] == "user"
    assert event["session"]


async def test_what_is_no_user_name_is_not_kept_for_it_may_be_a_password(
    http: httpx.AsyncClient,
) -> None:
    admin = (await log_in(http))["access_token"]
    await http.post("/auth/login", json={"username": "My Secret!", "password": "x"})
    [event] = await found(http, admin, 1, event="login.failed")
    assert event["username"] == "(no user name)"
    assert "Secret" not in str(await read(http, admin))


async def test_no_event_has_a_password_or_a_token(http: httpx.AsyncClient) -> None:
    admin = await log_in(http)
    tokens = await log_in(http, "user")
    body = {"username": "anna", "role": "user", "password": "a password for anna"}
    await http.post("/auth/admin/users", json=body, headers=bearer(admin["access_token"]))
    await found(http, admin["access_token"], 1, event="user.created", username="anna")
    everything = str(await read(http, admin["access_token"]))
    for secret in (PASSWORD, "a password for anna", tokens["refresh_token"][-40:]):
        assert secret not in everything


async def test_events_are_read_page_by_page_each_once_the_newest_first(
    http: httpx.AsyncClient,
) -> None:
    admin = (await log_in(http))["access_token"]
    for number in range(7):
        await http.post("/auth/login", json={"username": f"name-{number}", "password": "x"})
    await found(http, admin, 7, event="login.failed")
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await read(http, admin, event="login.failed", limit=3, **cursor)
        names += [one["username"] for one in page["events"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert names == [f"name-{number}" for number in reversed(range(7))]


async def test_events_are_chosen_by_time_person_and_address(http: httpx.AsyncClient) -> None:
    admin = (await log_in(http))["access_token"]
    await http.post("/auth/login", json={"username": "anna", "password": "x"})
    [event] = await found(http, admin, 1, username="anna")
    for wanted, count in [
        ({"from": event["time"], "username": "anna"}, 1),
        ({"to": event["time"], "username": "anna"}, 0),
        (
            {
                "from": "0001-01-01T00:00:00+14:00",
                "to": "9999-12-31T23:59:59-14:00",
                "event": "login.failed",
            },
            1,
        ),
        ({"address": "192.0.2.1", "event": "login.failed"}, 1),
        ({"address": "192.0.2.2"}, 0),
        ({"actor": "anna' OR 1=1 --"}, 0),
    ]:
        assert len((await read(http, admin, **wanted))["events"]) == count, wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0}, {"limit": 1_001}, {"cursor": "x"}, {"event": "no.such"},
        {"from": "yesterday"}, {"from": "2026-11-26T00:00:00"}, {"username": ""},
    ],
)  # fmt: skip
async def test_a_wrong_filter_is_refused(http: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    token = (await log_in(http))["access_token"]
    answer = await http.get(EVENTS, params=wrong, headers=bearer(token))
    assert answer.status_code == 422


async def test_logins_do_not_wait_for_clickhouse_and_their_events_come_later(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    admin = (await log_in(http))["access_token"]
    await log_in(http, "user")
    await lines.clickhouse.cut()
    async with asyncio.timeout(5):
        await log_in(http, "user")
    await lines.clickhouse.mend()
    async with asyncio.timeout(20):
        while (await http.get(EVENTS, headers=bearer(admin))).status_code == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    assert len(await found(http, admin, 2, event="login.ok", username="user")) == 2
