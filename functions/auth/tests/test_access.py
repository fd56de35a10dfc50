"""Every operation against every role and every wrong token, as the permission table says."""

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sensor_auth.app import Auth
from sensor_shared.contracts.access import PERMISSIONS, Role
from sensor_shared.testing import rest
from sensor_shared.testing.tokens import forged

from .conftest import bearer, log_in

pytestmark = pytest.mark.integration
OPEN = {
    ("POST", "/auth/login"),
    ("POST", "/auth/refresh"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/health"),
}
PATH = {"username": "nobody", "session": "none", "key_id": "0" * 16}


def guarded(auth: Auth) -> list[rest.Operation]:
    return [one for one in rest.operations(auth.rest.openapi(), **PATH) if one.actions]


def test_only_what_must_be_open_is_open(auth: Auth) -> None:
    operations = rest.operations(auth.rest.openapi(), **PATH)
    assert {(one.method, one.path) for one in operations if not one.actions} == OPEN
    assert len(operations) == len(OPEN) + 20


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_do_what_the_table_says(
    auth: Auth, http: httpx.AsyncClient, role: Role
) -> None:
    for operation in guarded(auth):
        token = (await log_in(http, role))["access_token"]
        answer = await http.request(operation.method, operation.path, headers=bearer(token))
        if all(role in PERMISSIONS[action] for action in operation.actions):
            # Admitted; without a body, and for nobody, there may be nothing to do.
            assert answer.status_code in {200, 204, 404, 422}, operation
        else:
            assert answer.status_code == 403, operation
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_wrong_token_opens_nothing(
    auth: Auth, http: httpx.AsyncClient, key: Ed25519PrivateKey
) -> None:
    token = (await log_in(http))["access_token"]
    for wrong, text in forged(token, key).items():
        for operation in guarded(auth):
            answer = await http.request(operation.method, operation.path, headers=bearer(text))
            assert answer.status_code == 401, (wrong, operation)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert text not in answer.text or not text
    assert (await http.get("/auth/profile", headers=bearer(token))).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YWRtaW46YWRtaW4=", "{token}"])
async def test_without_a_bearer_token_it_is_401(
    auth: Auth, http: httpx.AsyncClient, header: str | None
) -> None:
    token = (await log_in(http))["access_token"]
    headers = {} if header is None else {"Authorization": header.format(token=token)}
    for operation in guarded(auth):
        answer = await http.request(operation.method, operation.path, headers=headers)
        assert answer.status_code == 401, operation
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("body", [b"{", b"[]", b"x" * 100_000])
async def test_without_a_token_nothing_is_said_of_the_body(
    http: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/auth/password", "/auth/admin/users", "/auth/admin/users/anna/password"):
        answer = await http.post(path, content=body, headers=headers)
        assert answer.status_code == 401, (path, answer.text)


async def test_who_may_not_do_it_learns_nothing_of_the_body_either(http: httpx.AsyncClient) -> None:
    headers = bearer((await log_in(http, "user"))["access_token"])
    answer = await http.post("/auth/admin/users", content=b"{", headers=headers)
    assert answer.status_code == 403


async def test_the_roles_shown_to_an_admin_are_the_table(http: httpx.AsyncClient) -> None:
    token = (await log_in(http))["access_token"]
    shown = (await http.get("/auth/admin/roles", headers=bearer(token))).json()["roles"]
    assert shown == {
        role: [action for action, roles in PERMISSIONS.items() if role in roles] for role in Role
    }


async def test_the_profile_is_the_callers_own(http: httpx.AsyncClient) -> None:
    token = (await log_in(http, "user"))["access_token"]
    profile = (await http.get("/auth/profile", headers=bearer(token))).json()
    assert (profile["username"], profile["role"]) == ("user", "user")
    assert profile["email"] == "user@example.com"
    assert "roles:read" not in profile["permissions"]
    assert "password_hash" not in profile
