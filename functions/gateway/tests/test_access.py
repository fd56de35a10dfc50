"""Every operation against every role and every wrong token, as the permission table says."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis

from sensor_gateway.app import Gateway
from sensor_shared.adapters.jwks import RemoteKeys
from sensor_shared.adapters.sessions import session_key
from sensor_shared.contracts.access import PERMISSIONS, Role
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines
from sensor_shared.testing.tokens import access_token, forged

from .conftest import DEVICE, KID, Caller, Issuer

pytestmark = pytest.mark.integration


def guarded(gateway: Gateway) -> list[rest.Operation]:
    found = rest.operations(gateway.rest.openapi(), device_id=DEVICE)
    return [one for one in found if one.actions]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_only_health_is_open(gateway: Gateway) -> None:
    operations = rest.operations(gateway.rest.openapi(), device_id=DEVICE)
    open_ = [(one.method, one.path) for one in operations if not one.actions]
    assert open_ == [("GET", "/api/v1/health")]
    assert len(operations) > len(open_)


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_do_what_the_table_says(
    gateway: Gateway, anonymous: httpx.AsyncClient, caller: Caller, role: Role
) -> None:
    token = await caller.token(role)
    for operation in guarded(gateway):
        if operation.path.endswith("/live"):
            continue  # it does not end; tests/contract calls it over a socket
        answer = await anonymous.request(operation.method, operation.path, headers=bearer(token))
        allowed = all(role in PERMISSIONS[action] for action in operation.actions)
        # 422: the body that an operation needs is looked at after the token.
        fine = {200, 201, 404, 422}
        if operation.path.startswith(("/api/v1/alerts", "/api/v1/silences")):
            fine = {201, 422, 503}  # there is no alert service here; tests/contract has one
        assert answer.status_code in (fine if allowed else {403}), operation


async def test_a_wrong_token_opens_nothing(
    gateway: Gateway, anonymous: httpx.AsyncClient, caller: Caller, key: Ed25519PrivateKey
) -> None:
    token = await caller.token("admin")
    for wrong, text in forged(token, key).items():
        for operation in guarded(gateway):
            answer = await anonymous.request(operation.method, operation.path, headers=bearer(text))
            assert answer.status_code == 401, (wrong, operation)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
    answer = await anonymous.get("/api/v1/devices", headers=bearer(token))
    assert answer.status_code == 200


async def test_the_token_is_looked_at_before_anything_else(anonymous: httpx.AsyncClient) -> None:
    for path in ("/api/v1/devices?page=x", "/api/v1/devices/a'b/metrics"):
        assert (await anonymous.get(path)).status_code == 401, path


async def test_a_session_that_ended_is_refused_although_its_token_was_verified_before(
    anonymous: httpx.AsyncClient, caller: Caller, redis: Redis, lines: Lines
) -> None:
    token = await caller.token("user")
    headers = bearer(token)
    assert (await anonymous.get("/api/v1/devices", headers=headers)).status_code == 200
    await redis.flushdb()
    answer = await anonymous.get("/api/v1/devices", headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (401, "the session has ended")


async def test_without_redis_clickhouse_knows_what_was_revoked(
    anonymous: httpx.AsyncClient, key: Ed25519PrivateKey, lines: Lines, sql: Any
) -> None:
    row = ["ended", "admin", "logout", datetime.now(UTC)]
    columns = ["session", "username", "reason", "revoked_at"]
    await sql.insert("revocations", [row], column_names=columns)
    await lines.redis.cut()
    for session, status in (("ended", 401), ("standing", 200)):
        headers = bearer(access_token(key, KID, "admin", session))
        assert (await anonymous.get("/api/v1/devices", headers=headers)).status_code == status


async def test_when_nobody_can_tell_whether_the_session_stands_nobody_is_let_in(
    anonymous: httpx.AsyncClient, caller: Caller, lines: Lines
) -> None:
    headers = bearer(await caller.token("admin"))
    await lines.redis.cut()
    await lines.clickhouse.cut()
    assert (await anonymous.get("/api/v1/devices", headers=headers)).status_code == 503


async def test_a_new_key_is_fetched_when_its_id_first_shows_up(
    gateway: Gateway, anonymous: httpx.AsyncClient, issuer: Issuer, redis: Redis
) -> None:
    new_key = Ed25519PrivateKey.generate()
    issuer.keys["new"] = new_key.public_key()
    await redis.set(session_key("s"), "x")
    _let_it_look_again(gateway._keys)
    headers = bearer(access_token(new_key, "new", "user", "s"))
    assert (await anonymous.get("/api/v1/devices", headers=headers)).status_code == 200


async def test_unknown_key_ids_do_not_make_it_ask_again_and_again(
    gateway: Gateway, anonymous: httpx.AsyncClient, issuer: Issuer
) -> None:
    _let_it_look_again(gateway._keys)
    asked = issuer.asked
    stranger = Ed25519PrivateKey.generate()
    for number in range(20):
        headers = bearer(access_token(stranger, f"unknown-{number}", "admin", "s"))
        assert (await anonymous.get("/api/v1/devices", headers=headers)).status_code == 401
    assert issuer.asked == asked + 1


def _let_it_look_again(keys: RemoteKeys) -> None:
    keys._looked_at = float("-inf")


async def test_a_request_opens_nothing_for_the_next_one_on_its_connection(
    gateway: Gateway, caller: Caller
) -> None:
    """Hypercorn, which serves under func, has one `state` for all requests of a connection."""
    kept: dict[str, Any] = {}

    async def on_one_connection(scope: Any, receive: Any, send: Any) -> None:
        await gateway.handle({**scope, "state": kept}, receive, send)

    transport = httpx.ASGITransport(on_one_connection)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        admin = {"Authorization": f"Bearer {await caller.token('admin')}"}
        acknowledge = "/api/v1/alerts/some-alert/acknowledge"
        known = await client.post(acknowledge, json={}, headers=admin)
        assert known.status_code == 503  # admitted; there is no alert service
        assert (await client.get("/api/v1/devices/a/history")).status_code == 401
        assert (await client.post(acknowledge, json={})).status_code == 401
