"""API keys and limits at the gateway, on the real Redis and ClickHouse."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from sensor_gateway.app import Gateway
from sensor_gateway.settings import GatewaySettings
from sensor_shared.adapters.api_key_copies import (
    GOOD_SECONDS,
    KEPT_SECONDS,
    KeyCopies,
    key_said,
    said,
)
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.contracts.api_keys import ApiKey
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import DEVICE, Caller, Issuer, add_devices, add_key, add_reading, readings_of, until

pytestmark = pytest.mark.integration
DEVICES = "/api/v1/devices"
SLOW = 0.01
"""Tokens per second: none comes back during a test."""


@pytest.fixture
async def narrow(lines: Lines, issuer: Issuer) -> AsyncIterator[Gateway]:
    """A gateway with small buckets."""
    limits = {
        "user_burst": 5,
        "user_per_second": SLOW,
        "address_burst": 8,
        "address_per_second": SLOW,
        "ahead": 1,
    }
    sections = {"jwks": {"url": issuer.url}, "limits": limits, "gateway": {"probe_seconds": 0.2}}
    function = Gateway(GatewaySettings.model_validate({**lines.sections, **sections}))
    await function.start()
    await until(function.ready)
    yield function
    await function.stop()


async def store_now(redis: Redis) -> None:
    """Gives the device a latest reading of now."""
    await LatestReadings(redis).update(readings_of({DEVICE: 21.5}, datetime.now(UTC)))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_key_opens_the_gateway_in_either_header_without_auth(
    anonymous: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0)
    key = await add_key(sql)
    for headers in ({"X-API-Key": key}, bearer(key)):
        for path in (DEVICES, f"{DEVICES}/{DEVICE}/history"):
            assert (await anonymous.get(path, headers=headers)).status_code == 200


async def test_a_key_does_what_its_scopes_say_and_no_more(
    anonymous: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    headers = {"X-API-Key": await add_key(sql, "machine", "devices:read")}
    assert (await anonymous.get(DEVICES, headers=headers)).status_code == 200
    answer = await anonymous.get(f"{DEVICES}/{DEVICE}/metrics", headers=headers)
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_a_key_works_without_redis_and_with_redis_alone(
    anonymous: httpx.AsyncClient, sql: Any, lines: Lines
) -> None:
    await add_devices(sql, DEVICE)
    headers = {"X-API-Key": await add_key(sql)}
    await lines.redis.cut()
    assert (await anonymous.get(DEVICES, headers=headers)).status_code == 200


async def test_a_known_key_works_for_an_hour_without_clickhouse_unless_it_is_revoked(
    narrow: Gateway, redis: Redis, sql: Any, lines: Lines
) -> None:
    await store_now(redis)
    key = await add_key(sql)
    id_ = key.split("_")[1]
    copies = f"auth:apikey:{id_}", "auth:owner:machine"
    async with rest.client(narrow) as http:
        http.headers["X-API-Key"] = key
        path = f"{DEVICES}/{DEVICE}/metrics"
        assert (await http.get(path)).status_code == 200
        for name in copies:
            assert await redis.ttl(name) > KEPT_SECONDS - GOOD_SECONDS
            await redis.expire(name, KEPT_SECONDS - 120)  # as after two minutes
        await lines.clickhouse.cut()
        assert (await http.get(path)).status_code == 200

        copy = await redis.get(copies[0])
        assert isinstance(copy, bytes)
        record = key_said(said(copy) or b"")
        assert record is not None
        await KeyCopies(redis).put(id_, replace(record, revoked=True))
        await redis.expire(copies[0], KEPT_SECONDS - 120)
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (
            401,
            "the API key has been revoked",
        )


async def test_what_clickhouse_says_replaces_a_copy_that_is_older_than_a_minute(
    anonymous: httpx.AsyncClient, redis: Redis, sql: Any
) -> None:
    headers = {"X-API-Key": await add_key(sql)}
    assert (await anonymous.get(DEVICES, headers=headers)).status_code == 200
    await sql.command("ALTER TABLE users DELETE WHERE 1 SETTINGS mutations_sync = 1")
    assert (await anonymous.get(DEVICES, headers=headers)).status_code == 200
    await redis.expire("auth:owner:machine", KEPT_SECONDS - GOOD_SECONDS)
    answer = await anonymous.get(DEVICES, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (
        401,
        "the API key's owner is disabled",
    )


async def test_a_key_of_an_unknown_owner_opens_nothing(
    anonymous: httpx.AsyncClient, sql: Any
) -> None:
    key = await add_key(sql)
    await sql.command("ALTER TABLE users DELETE WHERE 1 SETTINGS mutations_sync = 1")
    answer = await anonymous.get(DEVICES, headers={"X-API-Key": key})
    assert (answer.status_code, answer.json()["detail"]) == (
        401,
        "the API key's owner is disabled",
    )


async def test_wrong_keys_and_two_credentials_are_401(
    anonymous: httpx.AsyncClient, sql: Any, caller: Caller
) -> None:
    key, token = await add_key(sql), await caller.token("user")
    wrong: list[Any] = [
        {"X-API-Key": ""},
        {"X-API-Key": token},
        {"X-API-Key": key[:-1]},
        {"X-API-Key": ApiKey.make().text},
        {"X-API-Key": f"{key}, {key}"},
        {"X-API-Key": key.encode() + b"\xff"},
        {"X-API-Key": key, **bearer(token)},
        {"X-API-Key": key, **bearer(key)},
        [("X-API-Key", key), ("X-API-Key", key)],
        [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")],
        {"Authorization": f"Basic {key}"},
        {"Authorization": key},
        {"Cookie": f"X-API-Key={key}"},
    ]
    for headers in wrong:
        answer = await anonymous.get(DEVICES, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert key not in answer.text
    assert (await anonymous.get(f"{DEVICES}?api_key={key}")).status_code == 401


async def test_a_user_who_asks_too_often_gets_429_and_others_go_on(
    narrow: Gateway, caller: Caller
) -> None:
    headers = bearer(await caller.token("user"))
    async with rest.client(narrow) as http:
        answers = [await http.get(DEVICES, headers=headers) for _ in range(6)]
        assert [one.status_code for one in answers] == [200] * 5 + [429]
        other = await http.get(DEVICES, headers=bearer(await caller.token("readonly")))
        assert other.status_code == 200
    first, last = answers[0], answers[-1]
    assert first.headers["ratelimit-policy"] == '"address";q=8;w=800, "user";q=5;w=500'
    assert first.headers["ratelimit"] == '"address";r=7;t=100, "user";r=4;t=100'
    wait = last.headers["retry-after"]
    assert last.headers["ratelimit"].endswith(f'"user";r=0;t={wait}')
    assert 90 <= int(wait) <= 100
    assert last.headers["content-type"] == "application/problem+json"
    assert last.json()["status"] == 429


async def test_the_quick_way_to_a_latest_value_takes_from_the_same_buckets(
    narrow: Gateway, caller: Caller, redis: Redis
) -> None:
    await store_now(redis)
    headers = bearer(await caller.token("user"))
    async with rest.client(narrow) as http:
        answers = [await http.get(f"{DEVICES}/{DEVICE}/metrics", headers=headers) for _ in range(7)]
    # The last one is refused before the read: that too little is left is known by then.
    assert [one.status_code for one in answers] == [200] * 5 + [429] * 2
    # Only the first one's token was not known yet.
    assert {one.headers["x-data-source"] for one in answers[:5]} == {"redis"}
    assert [one.headers["ratelimit"].partition('"user";')[2] for one in answers[:2]] == [
        "r=4;t=100",
        "r=3;t=100",
    ]
    for refused in answers[5:]:
        assert int(refused.headers["retry-after"]) > 0


async def test_a_key_reads_the_latest_value_too_and_has_limits(
    narrow: Gateway, redis: Redis, sql: Any
) -> None:
    await store_now(redis)
    key = await add_key(sql)
    for headers in ({"X-API-Key": key}, bearer(key)):
        async with rest.client(narrow) as http:
            answer = await http.get(f"{DEVICES}/{DEVICE}/metrics", headers=headers)
            assert (answer.status_code, answer.json()["temperature"]) == (200, 21.5)
            assert '"user";r=' in answer.headers["ratelimit"]


async def test_a_key_has_a_bucket_of_its_own(narrow: Gateway, caller: Caller, sql: Any) -> None:
    key = await add_key(sql, "user")
    async with rest.client(narrow) as http:
        for headers in ({"X-API-Key": key}, bearer(await caller.token("user"))):
            assert (await http.get(DEVICES, headers=headers)).status_code == 200
        by_key = await http.get(DEVICES, headers={"X-API-Key": key})
        assert '"user";r=3' in by_key.headers["ratelimit"]


async def test_an_address_is_limited_whoever_comes_from_it_and_another_is_not(
    narrow: Gateway, caller: Caller
) -> None:
    headers = bearer(await caller.token("user"))
    async with rest.client(narrow) as http:
        statuses = [(await http.get(DEVICES)).status_code for _ in range(10)]
        assert statuses == [401] * 8 + [429] * 2
        assert (await http.get(DEVICES, headers=headers)).status_code == 429
    async with rest.client(narrow, address="192.0.2.2") as http:
        assert (await http.get(DEVICES, headers=headers)).status_code == 200


async def test_the_token_of_an_ended_session_takes_nothing_from_its_owner(
    narrow: Gateway, caller: Caller, redis: Redis
) -> None:
    ended = bearer(await caller.token("user"))
    await redis.flushdb()
    async with rest.client(narrow) as http:
        for _ in range(6):
            assert (await http.get(DEVICES, headers=ended)).status_code == 401
        good = await http.get(DEVICES, headers=bearer(await caller.token("user")))
    assert good.status_code == 200
    assert '"user";r=4' in good.headers["ratelimit"]


async def test_an_address_pays_for_what_nobody_could_answer_too(
    narrow: Gateway, caller: Caller, lines: Lines
) -> None:
    headers = bearer(await caller.token("user"))
    await lines.redis.cut()
    await lines.clickhouse.cut()
    async with rest.client(narrow) as http:
        statuses = [(await http.get(DEVICES, headers=headers)).status_code for _ in range(10)]
    assert statuses == [503] * 8 + [429] * 2


async def test_a_history_costs_as_much_as_an_aggregate(
    narrow: Gateway, caller: Caller, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    headers = bearer(await caller.token("user"))
    async with rest.client(narrow) as http:
        path = f"{DEVICES}/{DEVICE}/history"
        answers = [await http.get(path, headers=headers) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 429]


async def test_the_addresses_of_one_ipv6_network_are_one(narrow: Gateway) -> None:
    statuses = []
    for number in range(10):
        async with rest.client(narrow, address=f"2001:db8::{number:x}:1") as http:
            statuses.append((await http.get(DEVICES)).status_code)
    assert statuses == [401] * 8 + [429] * 2
    async with rest.client(narrow, address="2001:db8:0:1::1") as http:
        assert (await http.get(DEVICES)).status_code == 401


async def test_a_stranger_does_not_choose_his_address(narrow: Gateway) -> None:
    statuses = []
    async with rest.client(narrow) as http:
        for number in range(10):
            headers = {
                "X-Forwarded-For": f"198.51.100.{number}",
                "Forwarded": f"for=198.51.100.{number}",
                "X-Real-IP": f"198.51.100.{number}",
            }
            statuses.append((await http.get(DEVICES, headers=headers)).status_code)
    assert statuses == [401] * 8 + [429] * 2


async def test_limits_hold_without_redis(narrow: Gateway, caller: Caller, lines: Lines) -> None:
    headers = bearer(await caller.token("user"))
    await lines.redis.cut()
    async with rest.client(narrow) as http:
        statuses = [(await http.get(DEVICES, headers=headers)).status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2


async def test_a_parameter_given_twice_is_422_and_a_list_is_a_list(
    http: httpx.AsyncClient, anonymous: httpx.AsyncClient, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    twice = f"{DEVICES}?page=1&page=2&page_size=5"
    assert (await anonymous.get(twice)).status_code == 401
    answer = await http.get(twice)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"location": "query.page", "detail": "given more than once"}]
    listed = f"{DEVICES}/{DEVICE}/history?metric=temperature&metric=humidity&of=1&of=2"
    assert (await http.get(listed)).status_code == 200


@pytest.mark.parametrize("redis_timeout", [20.0])
async def test_more_requests_at_a_time_than_connections_to_redis_all_go_by_redis(
    http: httpx.AsyncClient, lines: Lines, sql: Any
) -> None:
    await add_devices(sql, DEVICE)
    assert (await http.get(DEVICES)).status_code == 200
    await lines.clickhouse.cut()  # nobody else can tell whether their session stands
    answers = await asyncio.gather(*(http.get(DEVICES) for _ in range(150)))
    assert {answer.status_code for answer in answers} == {200}
    assert REGISTRY.get_sample_value("sensor_http_limits_local") == 0
