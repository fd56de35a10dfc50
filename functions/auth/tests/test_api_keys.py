"""API keys: made, shown once, used and refused; on the real Redis and ClickHouse."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
import structlog
from redis.asyncio import Redis

from sensor_auth.app import Auth
from sensor_auth.users import Users
from sensor_shared.adapters.api_key_copies import (
    KEPT_SECONDS,
    KeyCopies,
    key_name,
    key_said,
    owner_name,
    said,
)
from sensor_shared.adapters.api_keys import KeyCheck
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.adapters.tokens import InvalidTokenError
from sensor_shared.contracts import api_keys
from sensor_shared.contracts.access import Action, Role
from sensor_shared.contracts.api_keys import ApiKey
from sensor_shared.testing.parts import Lines

from .conftest import bearer, log_in

pytestmark = pytest.mark.integration
WANTED = {"name": "dashboard", "scopes": ["devices:read", "readings:read"]}


@pytest.fixture
async def redis(lines: Lines) -> AsyncIterator[Redis]:
    client = connect(RedisSettings.model_validate(lines.sections["redis"]))
    yield client
    await client.aclose()


@pytest.fixture
async def database(lines: Lines) -> AsyncIterator[Database]:
    made = Database(ClickHouseSettings.model_validate(lines.sections["clickhouse"]))
    yield made
    await made.close()


@pytest.fixture
async def check(redis: Redis, database: Database) -> KeyCheck:
    """Another service's own, as the gateway has it."""
    return KeyCheck(redis, database)


async def held(redis: Redis, name: str) -> bytes:
    """What a copy in Redis says."""
    copy = await redis.get(name)
    assert isinstance(copy, bytes)
    return said(copy) or b""


async def session(http: httpx.AsyncClient, username: str = "user") -> dict[str, str]:
    return bearer((await log_in(http, username))["access_token"])


async def make(http: httpx.AsyncClient, headers: dict[str, str], **changes: Any) -> dict[str, Any]:
    answer = await http.post("/auth/keys", json=WANTED | changes, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_key_is_shown_once_and_kept_as_a_hash(
    http: httpx.AsyncClient, check: KeyCheck, redis: Redis, database: Database
) -> None:
    headers = await session(http)
    with structlog.testing.capture_logs() as lines:
        made = await make(http, headers)
    listed = (await http.get("/auth/keys", headers=headers)).json()["items"]
    assert [one["id"] for one in listed] == [made["id"]]
    rows = await database.rows("SELECT * FROM api_keys")
    kept = [await redis.get(key) for key in await redis.keys("*apikey*")]
    secret = made["key"].rpartition("_")[2]
    for place in (listed, rows, kept, lines):
        assert secret not in str(place)
    claims = await check.verify(made["key"])
    assert (claims.subject, claims.role, claims.token_id) == ("user", Role.USER, made["id"])
    assert claims.scopes == frozenset({Action.DEVICES_READ, Action.READINGS_READ})


async def test_a_key_is_logged_as_a_security_event_with_who_made_and_ended_it(
    http: httpx.AsyncClient,
) -> None:
    headers, admin = await session(http), await session(http, "admin")
    with structlog.testing.capture_logs() as lines:
        made = await make(http, headers)
        await http.delete(f"/auth/keys/{made['id']}", headers=admin)
    events = [line for line in lines if line["event"] == "security event"]
    assert [(one["kind"], one["username"], one["actor"]) for one in events] == [
        ("key.created", "user", "user"),
        ("key.revoked", "user", "admin"),
    ]
    assert all(made["id"] in one["detail"] for one in events)
    assert all(one["address"] == "192.0.2.1" for one in events)


async def test_a_revoked_key_is_dead_at_once_for_whoever_knew_it(
    http: httpx.AsyncClient, check: KeyCheck
) -> None:
    headers = await session(http)
    made = await make(http, headers)
    await check.verify(made["key"])
    for _ in range(2):  # to revoke it again does no harm
        answer = await http.delete(f"/auth/keys/{made['id']}", headers=headers)
        assert answer.status_code == 204
        with pytest.raises(InvalidTokenError, match="revoked"):
            await check.verify(made["key"])
    [listed] = (await http.get("/auth/keys", headers=headers)).json()["items"]
    assert listed["status"] == "revoked"


async def test_a_copy_made_from_an_old_fact_does_not_bring_a_revoked_key_back(
    http: httpx.AsyncClient, redis: Redis, check: KeyCheck, database: Database
) -> None:
    """Somebody reads ClickHouse, the key is revoked, and only then he writes his copy."""
    headers = await session(http)
    made = await make(http, headers)
    await redis.delete(f"auth:apikey:{made['id']}")
    read, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Database):
        async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
            rows = await super().rows(sql, **parameters)
            read.set()
            await go_on.wait()
            return rows

    slow = Slow(database._settings)
    verifying = asyncio.create_task(KeyCheck(redis, slow).verify(made["key"]))
    await read.wait()
    await http.delete(f"/auth/keys/{made['id']}", headers=headers)
    go_on.set()
    with pytest.raises(InvalidTokenError, match="revoked"):
        await verifying
    with pytest.raises(InvalidTokenError, match="revoked"):
        await check.verify(made["key"])
    await slow.close()


async def test_changes_that_are_announced_in_the_wrong_order_leave_the_later_one(
    http: httpx.AsyncClient, check: KeyCheck, redis: Redis, database: Database
) -> None:
    """Two replicas change a user one after the other, and the first is late to say so."""
    headers = await session(http)
    made = await make(http, headers)
    users, copies = Users(database, redis), KeyCopies(redis)
    user = await users.find("user")
    assert user is not None
    record = key_said(await held(redis, key_name(made["id"])))
    assert record is not None
    await users.save(replace(user, role=Role.READONLY, version=9))
    await users.save(replace(user, role=Role.READONLY, disabled=True, version=10))
    await copies.put_owner("user", Role.READONLY, disabled=False, version=9)
    with pytest.raises(InvalidTokenError, match="owner is disabled"):
        await check.verify(made["key"])
    await copies.put_owner("user", Role.USER, disabled=False, version=11)
    assert (await check.verify(made["key"])).role is Role.USER
    await copies.put(made["id"], replace(record, revoked=True, version=2))
    await copies.put(made["id"], record)
    with pytest.raises(InvalidTokenError, match="revoked"):
        await check.verify(made["key"])


async def test_what_is_no_copy_is_made_anew(
    http: httpx.AsyncClient, check: KeyCheck, redis: Redis
) -> None:
    """As an older program may have left it."""
    made = await make(http, await session(http))
    for name in (key_name(made["id"]), owner_name("user")):
        for text in ("", "user", "null", '{"digest": "x", "owner": "user"}'):
            await redis.set(name, text, ex=KEPT_SECONDS)
            assert (await check.verify(made["key"])).subject == "user"
            assert await held(redis, name)


async def test_without_redis_a_revocation_holds_within_ten_seconds(
    http: httpx.AsyncClient, redis: Redis, database: Database, lines: Lines
) -> None:
    clock = [0.0]
    check = KeyCheck(redis, database, clock=lambda: clock[0])
    headers = await session(http)
    made = await make(http, headers)
    await lines.redis.cut()
    assert (await check.verify(made["key"])).subject == "user"
    await http.delete(f"/auth/keys/{made['id']}", headers=headers)
    clock[0] += 10.1
    with pytest.raises(InvalidTokenError, match="revoked"):
        await check.verify(made["key"])


async def test_when_nobody_can_tell_nobody_is_let_in(
    http: httpx.AsyncClient, check: KeyCheck, lines: Lines
) -> None:
    made = await make(http, await session(http))
    await check.verify(made["key"])
    await lines.clickhouse.cut()
    assert (await check.verify(made["key"])).subject == "user"  # Redis has a copy
    await lines.redis.cut()
    with pytest.raises(DatabaseAwayError):
        await check.verify(made["key"])


async def test_an_expired_key_is_refused(
    http: httpx.AsyncClient, redis: Redis, database: Database
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = await make(http, await session(http), expires_at=soon.isoformat())
    for later, good in ((3_500, True), (3_700, False)):
        moment = time.time() + later
        check = KeyCheck(redis, database, now=partial(float, moment))
        if good:
            await check.verify(made["key"])
        else:
            with pytest.raises(InvalidTokenError, match="expired"):
                await check.verify(made["key"])


async def test_a_wrong_key_is_refused_without_a_word_of_why_and_a_typing_error_without_a_query(
    http: httpx.AsyncClient, check: KeyCheck, lines: Lines
) -> None:
    made = await make(http, await session(http))
    stranger = ApiKey.make()
    # The id is right and the checksum too, the secret is another's.
    start = f"twk_{made['id']}_{stranger.text[21:-6]}"
    with pytest.raises(InvalidTokenError) as wrong_secret:
        await check.verify(_with_checksum(start))
    with pytest.raises(InvalidTokenError) as unknown:
        await check.verify(stranger.text)
    assert str(wrong_secret.value) == str(unknown.value) == "the API key is not known"
    await lines.redis.cut()
    await lines.clickhouse.cut()
    with pytest.raises(InvalidTokenError, match="typing error"):
        await check.verify(made["key"][:-1] + ("0" if made["key"][-1] != "0" else "1"))


def _with_checksum(start: str) -> str:
    return start + api_keys._checksum(start)


async def test_a_disabled_owners_key_is_dead_and_a_lesser_role_takes_its_rights_away(
    http: httpx.AsyncClient, auth: Auth, check: KeyCheck, redis: Redis, database: Database
) -> None:
    made = await make(http, await session(http))
    await check.verify(made["key"])
    users = Users(database, redis)
    user = await users.find("user")
    assert user is not None
    await users.save(replace(user, role=Role.READONLY, version=2))
    assert (await check.verify(made["key"])).role is Role.READONLY
    await users.save(replace(user, disabled=True, version=3))
    with pytest.raises(InvalidTokenError, match="owner is disabled"):
        await check.verify(made["key"])
    await redis.flushdb()
    with pytest.raises(InvalidTokenError, match="owner is disabled"):
        await check.verify(made["key"])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"scopes": []}, 422),
        ({"scopes": ["keys:manage"]}, 422),
        ({"scopes": ["session:end"]}, 422),
        ({"scopes": ["everything"]}, 422),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422),
        ({"expires_at": "2099-01-01T00:00:00Z"}, 422),
        ({"expires_at": "2099-01-01T00:00:00"}, 422),
        ({"name": ""}, 422),
        ({"name": "a\nb"}, 422),
        ({"name": "x" * 65}, 422),
        ({"owner": "admin"}, 422),
    ],
)
async def test_a_key_is_made_only_within_bounds(
    http: httpx.AsyncClient, changes: dict[str, Any], status: int
) -> None:
    headers = await session(http)
    answer = await http.post("/auth/keys", json=WANTED | changes, headers=headers)
    assert answer.status_code == status, answer.text
    assert (await http.get("/auth/keys", headers=headers)).json()["items"] == []


async def test_a_user_has_so_many_keys_and_may_revoke_one_for_another(
    http: httpx.AsyncClient,
) -> None:
    headers = await session(http)
    made = [await make(http, headers, name=f"key {number}") for number in range(20)]
    answer = await http.post("/auth/keys", json=WANTED, headers=headers)
    assert answer.status_code == 409
    await http.delete(f"/auth/keys/{made[0]['id']}", headers=headers)
    await make(http, headers)


async def test_a_user_sees_and_ends_his_own_keys_and_an_admin_everybodys(
    http: httpx.AsyncClient,
) -> None:
    user, reader = await session(http), await session(http, "readonly")
    admin = await session(http, "admin")
    of_user, of_reader = await make(http, user), await make(http, reader)

    async def ids(headers: dict[str, str], query: str = "") -> set[str]:
        answer = await http.get(f"/auth/keys{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return {one["id"] for one in answer.json()["items"]}

    assert await ids(user) == {of_user["id"]}
    assert await ids(admin) == set()
    assert await ids(admin, "?owner=user") == {of_user["id"]}
    assert await ids(admin, "?owner=*") == {of_user["id"], of_reader["id"]}
    for query in ("?owner=readonly", "?owner=*"):
        assert (await http.get(f"/auth/keys{query}", headers=user)).status_code == 403
    assert (await http.delete(f"/auth/keys/{of_reader['id']}", headers=user)).status_code == 404
    assert (await http.delete(f"/auth/keys/{'0' * 16}", headers=user)).status_code == 404
    assert (await http.delete(f"/auth/keys/{of_reader['id']}", headers=admin)).status_code == 204


async def test_keys_are_answered_page_by_page(http: httpx.AsyncClient) -> None:
    headers = await session(http)
    made = {(await make(http, headers))["id"] for _ in range(5)}
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await http.get(f"/auth/keys?limit=2&after={after}", headers=headers)).json()
        seen += [one["id"] for one in page["items"]]
        after = page["next"]
    assert seen == sorted(made)


async def test_no_key_opens_anything_of_auth(http: httpx.AsyncClient) -> None:
    made = await make(http, await session(http, "admin"))
    calls = [
        ("POST", "/auth/keys"), ("GET", "/auth/keys"), ("DELETE", f"/auth/keys/{made['id']}"),
        ("POST", "/auth/logout"), ("POST", "/auth/verify"), ("GET", "/auth/profile"),
        ("GET", "/auth/admin/roles"),
    ]  # fmt: skip
    for headers in ({"X-API-Key": made["key"]}, bearer(made["key"])):
        for method, path in calls:
            answer = await http.request(method, path, headers=headers)
            assert answer.status_code == 403, (method, path, answer.text)


async def test_the_last_use_of_a_key_is_told(http: httpx.AsyncClient, check: KeyCheck) -> None:
    headers = await session(http)
    made = await make(http, headers)
    assert made["last_used_at"] is None
    await check.verify(made["key"])
    [listed] = (await http.get("/auth/keys", headers=headers)).json()["items"]
    used = datetime.fromisoformat(listed["last_used_at"])
    assert abs(used.timestamp() - time.time()) < 60


async def test_a_scope_of_another_version_is_left_out(
    http: httpx.AsyncClient, database: Database, redis: Redis, check: KeyCheck
) -> None:
    """A scope that this version does not know gives no right and breaks nothing."""
    made = await make(http, await session(http))
    [row] = await database.rows("SELECT * FROM api_keys WHERE id = {id:String}", id=made["id"])
    columns = [name for name, *_ in await database.rows("DESCRIBE TABLE api_keys")]
    changed = dict(zip(columns, row, strict=True)) | {
        "scopes": ["devices:read", "of:tomorrow"],
        "version": 2,
    }
    await database.insert("api_keys", changed)
    await redis.flushdb()
    assert (await check.verify(made["key"])).scopes == frozenset({Action.DEVICES_READ})
