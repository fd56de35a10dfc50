"""Users as admins see and change them."""

import asyncio
from typing import Any

import httpx
import pytest

from sensor_auth.app import Auth
from sensor_shared.adapters.database import Database
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import PASSWORD, bearer, log_in

pytestmark = pytest.mark.integration
USERS = "/auth/admin/users"


class Admin:
    """The admin `admin`, logged in."""

    def __init__(self, http: httpx.AsyncClient, token: str):
        self.http = http
        self.headers = bearer(token)

    async def __call__(
        self, method: str, path: str = "", body: Any = None, **parameters: Any
    ) -> httpx.Response:
        return await self.http.request(
            method, f"{USERS}{path}", json=body, params=parameters, headers=self.headers
        )

    async def create(self, username: str, role: str = "user", **more: Any) -> httpx.Response:
        return await self("POST", "", {"username": username, "role": role, **more})


@pytest.fixture
async def admin(http: httpx.AsyncClient) -> Admin:
    return Admin(http, (await log_in(http))["access_token"])


async def login(http: httpx.AsyncClient, username: str, password: str) -> httpx.Response:
    body = {"username": username, "password": password}
    return await http.post("/auth/login", json=body)


async def test_a_created_user_can_log_in_with_the_password_shown_once(admin: Admin) -> None:
    made = await admin.create("anna", email="anna@example.com")
    assert made.status_code == 201
    password = made.json()["password"]
    assert len(password) >= 20
    assert (await login(admin.http, "anna", password)).status_code == 200
    shown = (await admin("GET", "/anna")).json()
    assert (shown["role"], shown["email"], shown["disabled"]) == ("user", "anna@example.com", False)
    assert "password" not in (await admin("GET", "/anna")).text


async def test_a_password_that_was_given_is_not_shown(admin: Admin) -> None:
    made = await admin.create("anna", password="a password she was given")
    assert made.json()["password"] is None
    assert (await login(admin.http, "anna", "a password she was given")).status_code == 200
    assert (await admin.create("bob", password="short")).status_code == 422
    assert (await admin.create("bobbobbobbob", password="bobbobbobbob")).status_code == 422


async def test_somebody_who_could_not_log_in_a_moment_ago_can_after_the_creation(
    admin: Admin,
) -> None:
    """That there is no such user is kept for a minute, and must not outlive the creation."""
    assert (await login(admin.http, "anna", "a password she was given")).status_code == 401
    await admin.create("anna", password="a password she was given")
    assert (await login(admin.http, "anna", "a password she was given")).status_code == 200


@pytest.mark.parametrize(
    "username",
    [
        "", "Anna", " anna", "anna ", "an na", "\u0430nna", "anna\u200b", "-anna", ".anna", "a/b",
        "a\n", "a" * 65, "\u00e4nna", "anna\x00", "../anna", "anna;--",
    ],
)  # fmt: skip
async def test_what_is_no_user_name_cannot_become_one(admin: Admin, username: str) -> None:
    assert (await admin.create(username)).status_code == 422
    # And nobody is told more than that such a user, or the password, is wrong.
    if 0 < len(username) <= 64:
        assert (await login(admin.http, username, "x")).status_code == 401


async def test_a_name_is_given_once_also_when_it_is_asked_for_at_the_same_time(
    admin: Admin,
) -> None:
    answers = await asyncio.gather(
        *(admin.create("anna", password=f"{PASSWORD} {n}") for n in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    logins = [await login(admin.http, "anna", f"{PASSWORD} {n}") for n in range(5)]
    created = [answer.status_code == 201 for answer in answers]
    assert [answer.status_code == 200 for answer in logins] == created


async def test_users_are_listed_page_by_page_in_the_order_of_their_names(admin: Admin) -> None:
    for name in ("anna", "bob", "zoe"):
        await admin.create(name)
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await admin("GET", limit=2, **cursor)).json()
        names += [user["username"] for user in page["users"]]
        assert len(page["users"]) <= 2
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert names == sorted(["admin", "anna", "bob", "gone", "readonly", "user", "zoe"])
    assert "hash" not in (await admin("GET")).text


@pytest.mark.parametrize("change", [{"role": "readonly"}, {"disabled": True}])
async def test_a_change_of_role_or_state_ends_the_sessions(
    admin: Admin, change: dict[str, Any]
) -> None:
    tokens = await log_in(admin.http, "user")
    assert (await admin("PATCH", "/user", change)).status_code == 200
    headers = bearer(tokens["access_token"])
    assert (await admin.http.get("/auth/profile", headers=headers)).status_code == 401
    again = await login(admin.http, "user", PASSWORD)
    assert again.status_code == (401 if "disabled" in change else 200)


async def test_a_change_of_the_mail_address_ends_nothing(admin: Admin) -> None:
    headers = bearer((await log_in(admin.http, "user"))["access_token"])
    await admin("PATCH", "/user", {"email": "new@example.com"})
    profile = await admin.http.get("/auth/profile", headers=headers)
    assert profile.json()["email"] == "new@example.com"


async def test_a_disabled_user_can_be_enabled_again(admin: Admin) -> None:
    assert (await admin("PATCH", "/gone", {"disabled": False})).status_code == 200
    assert (await login(admin.http, "gone", PASSWORD)).status_code == 200


async def test_a_reset_password_is_shown_once_and_ends_the_sessions(admin: Admin) -> None:
    headers = bearer((await log_in(admin.http, "user"))["access_token"])
    answer = await admin("POST", "/user/password", {})
    assert (await admin.http.get("/auth/profile", headers=headers)).status_code == 401
    assert (await login(admin.http, "user", PASSWORD)).status_code == 401
    assert (await login(admin.http, "user", answer.json()["password"])).status_code == 200
    given = await admin("POST", "/user/password", {"password": "a password that was given"})
    assert given.json() == {"password": None}


async def test_a_deleted_user_is_gone_and_the_name_stays_taken(
    admin: Admin, database: Database
) -> None:
    headers = bearer((await log_in(admin.http, "user"))["access_token"])
    assert (await admin("DELETE", "/user")).status_code == 204
    assert (await admin.http.get("/auth/profile", headers=headers)).status_code == 401
    assert (await login(admin.http, "user", PASSWORD)).status_code == 401
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/sessions"),
        ("DELETE", "/sessions"),
    ):
        assert (await admin(method, f"/user{path}")).status_code == 404
    assert (await admin("PATCH", "/user", {"disabled": False})).status_code == 404
    assert (await admin("POST", "/user/password", {})).status_code == 404
    assert (await admin.create("user")).status_code == 409
    sql = "SELECT password_hash, email FROM users FINAL WHERE username = 'user'"
    assert await database.rows(sql) == [("", "")]


async def test_an_admin_sees_and_ends_the_sessions_of_others(admin: Admin) -> None:
    tokens = [await log_in(admin.http, "user") for _ in range(2)]
    assert len((await admin("GET", "/user/sessions")).json()["sessions"]) == 2
    assert (await admin("DELETE", "/user/sessions")).json() == {"ended": 2}
    headers = bearer(tokens[0]["access_token"])
    assert (await admin.http.get("/auth/profile", headers=headers)).status_code == 401
    await log_in(admin.http, "user")


@pytest.mark.parametrize("change", [{"role": "user"}, {"disabled": True}, None])
async def test_the_last_admin_stays(admin: Admin, change: dict[str, Any] | None) -> None:
    method = "PATCH" if change else "DELETE"
    assert (await admin(method, "/admin", change)).status_code == 409
    await admin.create("anna", "admin")
    await admin("PATCH", "/anna", {"disabled": True})
    # One who cannot log in is no admin who is left.
    assert (await admin(method, "/admin", change)).status_code == 409
    await admin("PATCH", "/anna", {"disabled": False})
    assert (await admin(method, "/admin", change)).status_code in {200, 204}


async def test_two_admins_who_demote_each_other_at_once_are_not_both_demoted(
    auth: Auth, admin: Admin, database: Database
) -> None:
    password = (await admin.create("anna", "admin")).json()["password"]
    token = (await login(admin.http, "anna", password)).json()["access_token"]
    async with rest.client(auth) as elsewhere:
        anna = Admin(elsewhere, token)
        demoted = {"role": "user"}
        answers = await asyncio.gather(
            admin("PATCH", "/anna", demoted), anna("PATCH", "/admin", demoted)
        )
    # The guard of the second may have let it in before its session ended.
    assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])
    sql = "SELECT count() FROM users FINAL WHERE role = 'admin'"
    assert await database.rows(sql) == [(1,)]


@pytest.mark.parametrize("away", ["redis", "clickhouse"])
async def test_with_a_part_away_nothing_is_changed_and_later_it_is(
    lines: Lines, admin: Admin, away: str
) -> None:
    line = getattr(lines, away)
    await line.cut()
    answer = await admin("PATCH", "/user", {"role": "readonly"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    await line.mend()
    async with asyncio.timeout(20):
        while (await admin("GET", "/user")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (await admin("GET", "/user")).json()["role"] == "user"
    assert (await admin("PATCH", "/user", {"role": "readonly"})).status_code == 200


async def test_changes_of_one_user_at_the_same_time_are_all_kept(admin: Admin) -> None:
    changes = [{"email": "new@example.com"}, {"role": "readonly"}, {"disabled": True}]
    answers = await asyncio.gather(*(admin("PATCH", "/user", change) for change in changes))
    assert {answer.status_code for answer in answers} == {200}
    user = (await admin("GET", "/user")).json()
    assert (user["email"], user["role"], user["disabled"]) == ("new@example.com", "readonly", True)
