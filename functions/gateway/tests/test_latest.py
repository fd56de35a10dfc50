"""Latest values: the quick way and the operation say the same, and many devices at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from sensor_gateway.app import Gateway
from sensor_gateway.joined_reads import JoinedReads, Read
from sensor_gateway.models import LatestOfMany
from sensor_gateway.quick_latest import QuickLatest
from sensor_shared.adapters import redis as redis_adapter
from sensor_shared.adapters.bucket import Draw
from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.adapters.sessions import session_key
from sensor_shared.contracts.access import Claims
from sensor_shared.runtime.http.exchange import Exchange
from sensor_shared.runtime.http.settings import RestServerSettings
from sensor_shared.testing.parts import Lines
from sensor_shared.testing.tokens import forged

from .conftest import BASE_MS, DEVICE, Caller, add_devices, add_reading, moment, readings_of

pytestmark = pytest.mark.integration
METRICS = f"/api/v1/devices/{DEVICE}/metrics"
MANY = "/api/v1/latest"


def batch(**temperatures: float) -> pa.RecordBatch:
    """A reading of each device, a second after the tests' begin."""
    return readings_of(temperatures, moment(1_000), region="nörth")


async def store(redis: Redis, **temperatures: float) -> None:
    await LatestReadings(redis, ttl_seconds=1e9).update(batch(**temperatures))


def told(headers: httpx.Headers) -> dict[str, str]:
    """The headers, but for the number of tokens that the caller has left."""
    return {**headers, **({"ratelimit": ""} if "ratelimit" in headers else {})}


@dataclass
class Ways:
    """The same gateway with and without the quick way."""

    quick: httpx.AsyncClient
    plain: httpx.AsyncClient

    async def same(self, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
        """Asks both ways, checks that nothing differs, and returns the answer."""
        headers = {"X-Request-ID": "one", **headers}
        # The first one has the token verified, so that the quick way knows it.
        plain = await self.plain.request(method, path, headers=headers)
        quick = await self.quick.request(method, path, headers=headers)
        assert quick.status_code == plain.status_code, path
        assert quick.content == plain.content, path
        assert told(quick.headers) == told(plain.headers), path
        return quick


@pytest.fixture
def ways(gateway: Gateway) -> Ways:
    plain = Exchange("gateway", gateway.rest, RestServerSettings(max_body_bytes=1_000))
    base = "http://service.example.com"
    return Ways(
        httpx.AsyncClient(transport=httpx.ASGITransport(gateway.handle), base_url=base),
        httpx.AsyncClient(transport=httpx.ASGITransport(plain), base_url=base),
    )


class Watched:
    """Counts what the quick way hands on."""

    def __init__(self, app: Any):
        self.app = app
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await self.app(scope, receive, send)


@pytest.fixture
def handed_on(gateway: Gateway) -> Watched:
    quick = gateway._app._app
    assert isinstance(quick, QuickLatest)
    watched = Watched(quick._app)
    quick._app = watched
    return watched


async def test_both_ways_answer_the_same_to_everything(  # noqa: PLR0917  (fixtures)
    ways: Ways,
    handed_on: Watched,
    redis: Redis,
    sql: Any,
    caller: Caller,
    key: Ed25519PrivateKey,
) -> None:
    await store(redis, **{DEVICE: 21.5})
    await add_devices(sql, "stored_only")
    await add_reading(sql, 0, device="stored_only")
    token = await caller.token("readonly")
    good = {"Authorization": f"Bearer {token}"}

    answer = await ways.same("GET", METRICS, good)
    assert (answer.status_code, answer.headers["x-data-source"]) == (200, "redis")
    assert handed_on.asked == 0, "the quick way has not answered"
    tag = answer.headers["etag"]
    for if_none_match in (tag, f"W/{tag}", f'"a", {tag}', "*", '"a"', "", "x" * 3_000):
        headers = {**good, "If-None-Match": if_none_match}
        status = 304 if tag in if_none_match or if_none_match == "*" else 200
        assert (await ways.same("GET", METRICS, headers)).status_code == status
    assert (await ways.same("GET", f"{METRICS}?x=1&x=2", good)).status_code == 200
    assert (
        await ways.same("GET", METRICS, {"Authorization": f"bearer {token}"})
    ).status_code == 200
    assert handed_on.asked == 0

    for path, status in {
        "/api/v1/devices/stored_only/metrics": 200,
        "/api/v1/devices/nobody/metrics": 404,
        "/api/v1/devices/a'b/metrics": 422,
        f"/api/v1/devices/{'a' * 129}/metrics": 422,
        "/api/v1/devices/a%0A/metrics": 422,
        "/api/v1/devices//metrics": 404,
        f"{METRICS}/": 404,
        "/api/v1/devices/a/b/metrics": 404,
        "/api/v1/devices/metrics": 404,
        f"/API/v1/devices/{DEVICE}/metrics": 404,
    }.items():
        before = handed_on.asked
        assert (await ways.same("GET", path, good)).status_code == status, path
        assert handed_on.asked == before + 1
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await ways.same(method, METRICS, good)).status_code == 405, method
    for method in ("HEAD", "OPTIONS"):
        await ways.same(method, METRICS, good)
    await ways.same("GET", METRICS, {**good, "X-API-Key": "twk_x"})

    for name, text in forged(token, key).items():
        wrong = await ways.same("GET", METRICS, {"Authorization": f"Bearer {text}"})
        assert wrong.status_code == 401, name
    for header in (f"Basic {token}", token, "Bearer", f"Bearer {token} x", f"Bearer  {token}"):
        await ways.same("GET", METRICS, {"Authorization": header})
    assert (await ways.same("GET", METRICS, {})).status_code == 401

    await redis.delete(*[key async for key in redis.scan_iter("auth:session:*")])
    ended = await ways.same("GET", METRICS, good)
    assert (ended.status_code, ended.json()["detail"]) == (401, "the session has ended")


async def test_with_redis_away_both_ways_ask_clickhouse(
    ways: Ways, sql: Any, caller: Caller, lines: Lines
) -> None:
    await add_devices(sql, DEVICE)
    await add_reading(sql, 0)
    good = {"Authorization": f"Bearer {await caller.token('user')}"}
    await lines.redis.cut()
    answer = await ways.same("GET", METRICS, good)
    assert (answer.status_code, answer.headers["x-data-source"]) == (200, "clickhouse")
    await lines.clickhouse.cut()
    assert (await ways.same("GET", METRICS, good)).status_code == 503


async def test_a_token_that_has_expired_since_is_not_known_to_the_quick_way(
    gateway: Gateway, ways: Ways, redis: Redis, caller: Caller
) -> None:
    await store(redis, **{DEVICE: 21.5})
    good = {"Authorization": f"Bearer {await caller.token('user')}"}
    assert (await ways.same("GET", METRICS, good)).status_code == 200
    quick: Any = gateway._app._app
    now = quick._tokens._now
    quick._tokens._now = lambda: now() + 3_600
    assert (await ways.quick.get(METRICS, headers=good)).status_code == 401


class Purse:
    """Has so many tokens; knows that it has none after it has refused once."""

    def __init__(self, tokens: int):
        self.tokens = tokens
        self.has_refused = False

    def plain(self, scope: Any, claims: Claims) -> list[Draw]:  # noqa: ARG002  (a port)
        return []

    def refuses(self, draws: Sequence[Draw]) -> bool:  # noqa: ARG002
        return self.has_refused

    async def take(self, scope: Any, draws: Sequence[Draw]) -> None:  # noqa: ARG002
        if not self.tokens:
            self.has_refused = True
            raise HTTPException(429, "too many requests")
        self.tokens -= 1


@dataclass
class CountedReads:
    """The real ones; they are counted."""

    reads: JoinedReads
    asked: int = 0

    async def ask(self, session: str, device_id: str) -> Read:
        self.asked += 1
        return await self.reads.ask(session, device_id)


async def test_the_toll_is_taken_for_what_the_quick_way_answers_and_who_has_none_is_handed_on(
    gateway: Gateway, ways: Ways, handed_on: Watched, redis: Redis, caller: Caller
) -> None:
    await store(redis, **{DEVICE: 21.5})
    good = {"Authorization": f"Bearer {await caller.token('user')}"}
    await ways.plain.get(METRICS, headers=good)
    quick: Any = gateway._app._app
    quick._toll = purse = Purse(2)
    quick._reads = counted = CountedReads(quick._reads)
    await ways.quick.get("/api/v1/devices/nobody/metrics", headers=good)
    assert (purse.tokens, handed_on.asked) == (2, 1)
    for _ in range(2):
        assert (await ways.quick.get(METRICS, headers=good)).status_code == 200
    assert (purse.tokens, handed_on.asked) == (0, 1)
    for _ in range(3):
        await ways.quick.get(METRICS, headers=good)
    assert handed_on.asked == 4
    assert counted.asked == 4, "who is known to have nothing left costs no read"


async def test_both_ways_count_the_request_under_the_same_route(
    ways: Ways, redis: Redis, caller: Caller
) -> None:
    def counted() -> float:
        labels = {
            "function": "gateway",
            "route": "/api/v1/devices/{device_id}/metrics",
            "status": "200",
        }
        return REGISTRY.get_sample_value("sensor_http_requests_total", labels) or 0.0

    await store(redis, **{DEVICE: 21.5})
    good = {"Authorization": f"Bearer {await caller.token('user')}"}
    before = counted()
    await ways.same("GET", METRICS, good)
    assert counted() == before + 2


async def test_reads_at_the_same_time_share_round_trips_and_get_each_their_own(
    lines: Lines, redis: Redis
) -> None:
    ids = {f"d{n}": float(n) for n in range(1_000)}
    await store(redis, **ids)
    await redis.set(session_key("stands"), "x")
    client = redis_adapter.connect(RedisSettings.model_validate(lines.sections["redis"]))
    latest = LatestReadings(client, now_ms=lambda: BASE_MS + 60_000)
    reads = JoinedReads(client, latest)
    await reads.ask("stands", "d0")
    before = (await redis.info("commandstats"))["cmdstat_hmget"]["calls"]
    sessions = ("stands", "ended")
    found = await asyncio.gather(
        *(reads.ask(sessions[n % 2], f"d{n % 1_100}") for n in range(2_200))
    )
    calls = (await redis.info("commandstats"))["cmdstat_hmget"]["calls"] - before
    assert calls < 60, "2,200 reads were to be joined into few commands"
    documents = await latest.get(list(ids))
    for n, read in enumerate(found):
        assert read.stands == (n % 2 == 0)
        assert (read.record is not None) == (n % 1_100 < 1_000)
    assert len(documents) == 1_000
    await client.aclose()


async def test_a_read_that_fails_fails_for_all_of_its_round_trip_and_the_next_works(
    lines: Lines, redis: Redis
) -> None:
    client = redis_adapter.connect(RedisSettings.model_validate(lines.sections["redis"]))
    now = 100.0
    latest = LatestReadings(client, now_ms=lambda: BASE_MS)
    reads = JoinedReads(client, latest, clock=lambda: now)
    await lines.redis.cut()
    failed = await asyncio.gather(
        *(reads.ask("s", f"d{n}") for n in range(600)), return_exceptions=True
    )
    assert all(isinstance(one, OSError | RedisError) for one in failed)
    await lines.redis.mend()
    with pytest.raises(OSError, match="just now"):
        await reads.ask("s", "d0")
    now += 1
    assert (await reads.ask("s", "d0")).record is None
    await client.aclose()


async def test_many_latest_values_come_at_once_in_the_order_asked(
    http: httpx.AsyncClient, redis: Redis, sql: Any
) -> None:
    await store(redis, a=1.0, b=2.0)
    await add_devices(sql, "c", "d")
    await add_reading(sql, -3_600_000 * 24, device="c", temperature=3.0)
    await add_reading(sql, -3_600_000 * 25, device="c", temperature=2.0)
    answer = await http.post(MANY, json={"device_ids": ["b", "c", "nobody", "a", "b"]})
    found = LatestOfMany.model_validate_json(answer.content)
    assert [item.temperature for item in found.items] == [2.0, 3.0, 1.0]
    assert (found.missing, found.unanswered, found.next) == (["nobody"], [], None)
    assert answer.headers["x-data-source"] == "clickhouse, redis"
    single = await http.get("/api/v1/devices/b/metrics")
    assert single.content in answer.content
    by_query = await http.get(MANY, params={"device_id": ["a", "b"]})
    assert [item["device_id"] for item in by_query.json()["items"]] == ["a", "b"]
    assert by_query.headers["x-data-source"] == "redis"
    tag = {"If-None-Match": by_query.headers["etag"]}
    again = await http.get(MANY, params={"device_id": ["a", "b"]}, headers=tag)
    assert again.status_code == 304


async def test_clickhouse_finds_the_newest_of_many_however_old_and_each_once(
    http: httpx.AsyncClient, sql: Any, lines: Lines
) -> None:
    ids = [f"d{n:03}" for n in range(130)]
    columns = ["device_id", "timestamp", "temperature", "humidity", "pressure", "status"]
    rows = [
        [id_, moment(-n * 3_600_000 - age), age / 1000, None, None, "active"]
        for n, id_ in enumerate(ids)
        for age in (0, 1_000, 86_400_000)
    ]
    for _ in range(2):  # delivered twice
        await sql.insert("readings", rows, column_names=columns)
    await add_devices(sql, *ids)
    await lines.redis.cut()
    answer = (await http.post(MANY, json={"device_ids": [*ids, "nobody"]})).json()
    assert [item["device_id"] for item in answer["items"]] == ids
    assert {item["temperature"] for item in answer["items"]} == {0.0}
    assert answer["items"][0]["location"]["region"] == "north"
    assert answer["missing"] == ["nobody"]


async def test_latest_values_of_a_region_come_in_pages(
    http: httpx.AsyncClient, redis: Redis, sql: Any
) -> None:
    await add_devices(sql, "a", "b", "c", region="east")
    await add_devices(sql, "w", region="west")
    await store(redis, a=1.0, b=2.0, c=3.0, w=4.0)
    asked: dict[str, Any] = {"region": "east", "page_size": 2}
    first = (await http.get(MANY, params=asked)).json()
    second = (await http.get(MANY, params={**asked, "cursor": first["next"]})).json()
    assert [[item["device_id"] for item in one["items"]] for one in (first, second)] == [
        ["a", "b"],
        ["c"],
    ]
    assert second["next"] is None


async def test_with_clickhouse_away_what_redis_has_is_answered_and_the_rest_named(
    http: httpx.AsyncClient, redis: Redis, lines: Lines
) -> None:
    await store(redis, a=1.0)
    await lines.clickhouse.cut()
    answer = await http.post(MANY, json={"device_ids": ["a", "b"]})
    assert answer.status_code == 200
    assert [item["device_id"] for item in answer.json()["items"]] == ["a"]
    assert (answer.json()["missing"], answer.json()["unanswered"]) == ([], ["b"])


async def test_what_cannot_be_asked_of_many_is_422_or_413(http: httpx.AsyncClient) -> None:
    impossible_bodies: list[Any] = [
        {}, {"device_ids": []}, {"device_ids": ["a b"]}, {"device_ids": ["a"] * 1_001},
        {"device_ids": "a"}, {"device_ids": ["a"], "more": 1}, {"device_ids": [1]}, [], "a",
    ]  # fmt: skip
    for body in impossible_bodies:
        answer = await http.post(MANY, json=body)
        assert answer.status_code == 422, body
    longest = {"device_ids": [f"{n:0128}" for n in range(1_000)]}
    assert (await http.post(MANY, json=longest)).status_code == 200
    assert (await http.post(MANY, content=b" " * 200_000)).status_code == 413
    impossible: list[dict[str, Any]] = [
        {"device_id": "a", "region": "west"}, {"device_id": "a", "cursor": "A" * 20},
        {"device_id": [str(n) for n in range(51)]}, {"device_id": "a'b"}, {"page_size": 1_001},
        {"cursor": "A" * 20},
    ]  # fmt: skip
    for parameters in impossible:
        assert (await http.get(MANY, params=parameters)).status_code == 422, parameters
