"""What strangers send: it is refused by a problem document that gives nothing away."""

import json

import httpx
import pytest

from .conftest import PASSWORD, bearer, log_in

pytestmark = pytest.mark.integration
JSON = {"Content-Type": "application/json"}


async def post(http: httpx.AsyncClient, path: str, body: bytes) -> httpx.Response:
    return await http.post(path, content=body, headers=JSON)


def is_harmless(answer: httpx.Response) -> bool:
    text = answer.text.lower()
    return (
        answer.headers["content-type"] == "application/problem+json"
        and answer.json()["status"] == answer.status_code
        and not any(word in text for word in ("traceback", "argon2", "clickhouse", "redis", ".py"))
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"null", 422),
        (b"[]", 422),
        (b"\xff\xfe", 422),
        (b'{"username": "admin"}', 422),
        (b'{"username": "admin", "password": 1}', 422),
        (b'{"username": {"$ne": ""}, "password": {"$ne": ""}}', 422),
        (b'{"username": "admin", "password": "x", "role": "admin"}', 422),
        (b'{"username": "\\ud800", "password": "x"}', 422),
        (b'{"username": "admin", "password": "\\udfff"}', 422),
        (b'{"username": "a\\u0000b", "password": "x"}', 401),
        (b'{"username": "admin", "password": "\\u0000"}', 401),
        (b'{"username": "\\u202enimda", "password": "x"}', 401),
        (b'{"username": "' + b"a" * 65 + b'", "password": "x"}', 422),
        (b'{"username": "admin", "password": "' + b"a" * 257 + b'"}', 422),
        (b'{"username": "admin\' OR 1=1 --", "password": "x"}', 401),
        (b'{"username": "{username:String}", "password": "x"}', 401),
        (b'{"username": "*", "password": "x"}', 401),
        (b"[" * 8_000, 400),
        (b" " * 20_000, 413),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_login_that_is_none(http: httpx.AsyncClient, body: bytes, status: int) -> None:
    answer = await post(http, "/auth/login", body)
    assert answer.status_code == status, answer.text
    assert is_harmless(answer), answer.text


async def test_a_mistake_in_a_login_does_not_send_the_password_back(
    http: httpx.AsyncClient,
) -> None:
    body = json.dumps({"username": "admin", "password": PASSWORD, "more": "x"}).encode()
    answer = await post(http, "/auth/login", body)
    assert answer.status_code == 422
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    "name", ["..%2fadmin", "admin%00", "%C4%B1dmin", "a'b", "a%0d%0aset-cookie:x", "x" * 5_000]
)
async def test_a_path_that_names_no_user(http: httpx.AsyncClient, name: str) -> None:
    headers = bearer((await log_in(http))["access_token"])
    answer = await http.get(f"/auth/admin/users/{name}", headers=headers)
    assert answer.status_code in {404, 422}
    assert is_harmless(answer)
    assert "set-cookie" not in answer.headers


async def test_nothing_of_a_header_gets_into_the_list_of_sessions_but_text(
    http: httpx.AsyncClient,
) -> None:
    http.headers["user-agent"] = "<script>\x1b[31m" + "x" * 5_000
    headers = bearer((await log_in(http, "user"))["access_token"])
    [session] = (await http.get("/auth/sessions", headers=headers)).json()["sessions"]
    assert session["user_agent"].startswith("<script>?[31m")
    assert len(session["user_agent"]) == 200


async def test_an_answer_about_a_session_says_nothing_of_the_user(http: httpx.AsyncClient) -> None:
    answer = await http.post("/auth/refresh", json={"refresh_token": "x"})
    assert answer.status_code == 401
    assert is_harmless(answer)
