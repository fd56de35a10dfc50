"""The live stream over real sockets, on the real Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.sessions import session_key
from sensor_shared.testing.parts import Lines

from .conftest import DEVICE, Caller, moment, readings_of, until
from .following import LIVE, Live, Serve, serve, streams

__all__ = ["serve"]

pytestmark = pytest.mark.integration


@pytest.fixture
async def live(serve: Serve) -> AsyncIterator[Live]:
    async with serve() as made:
        yield made


def batch(offset_ms: int, *devices: str, temperature: float, region: str = "north") -> Any:
    found = dict.fromkeys(devices, temperature)
    return readings_of(found, moment(offset_ms), region=region)


Measure = Callable[..., Awaitable[None]]


@pytest.fixture
def measure(redis: Redis) -> Measure:
    """Tells Redis of readings, as the consumer does."""
    latest = LatestReadings(redis, ttl_seconds=1e9)

    async def measure(offset_ms: int, *devices: str, **values: Any) -> None:
        await latest.update(batch(offset_ms, *(devices or (DEVICE,)), **values))

    return measure


def polls() -> float:
    return REGISTRY.get_sample_value("sensor_gateway_live_poll_duration_ms_count") or 0.0


async def test_it_sends_the_latest_reading_and_then_each_newer_one(
    live: Live, caller: Caller, measure: Measure
) -> None:
    token = await caller.token("readonly")
    await measure(1_000, temperature=1.0)
    async with live.follow(token) as reader:
        first = await reader.next()
        assert (first["device_id"], first["temperature"]) == (DEVICE, 1.0)
        assert reader.retry == 2_000
        await measure(2_000, temperature=2.0)
        assert (await reader.next())["temperature"] == 2.0
    metrics = await live.http.get(
        f"/api/v1/devices/{DEVICE}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    assert reader.seen[-1].data == metrics.json()


async def test_a_late_reading_is_no_change(live: Live, caller: Caller, measure: Measure) -> None:
    await measure(2_000, temperature=2.0)
    async with live.follow(await caller.token("user")) as reader:
        await reader.next()
        await measure(1_000, temperature=1.0)
        await measure(3_000, temperature=3.0)
        assert (await reader.next())["temperature"] == 3.0


async def test_it_sends_only_what_the_filter_lets_through(
    live: Live, caller: Caller, measure: Measure
) -> None:
    token = await caller.token("user")
    await measure(1_000, "flow_meter_1", "flow_meter_2", temperature=1.0, region="south")
    await measure(1_000, "weather_station_9", temperature=1.0, region="north")
    wanted: list[tuple[dict[str, Any], set[str]]] = [
        (
            {"device_id": ["weather_station_9", "flow_meter_2", "unknown"]},
            {"weather_station_9", "flow_meter_2"},
        ),
        ({"region": "south"}, {"flow_meter_1", "flow_meter_2"}),
        ({"type": ["weather_station", "x"]}, {"weather_station_9"}),
        (
            {"device_id": ["weather_station_9", "flow_meter_1"], "region": ["south", "east"]},
            {"flow_meter_1"},
        ),
        ({}, {"flow_meter_1", "flow_meter_2", "weather_station_9"}),
    ]
    for query, expected in wanted:
        async with live.follow(token, **query) as reader:
            assert (await reader.devices(len(expected))).keys() == expected, query
            # A later change of each: what was let through by mistake would be among them.
            at = 2_000 + 1_000 * wanted.index((query, expected))
            await measure(at, "flow_meter_1", "flow_meter_2", temperature=float(at), region="south")
            await measure(at, "weather_station_9", temperature=float(at), region="north")
            assert (await reader.devices(len(expected))).keys() == expected, query
            assert {e.data["device_id"] for e in reader.seen if e.data} == expected, query


async def test_who_comes_back_gets_what_has_changed_meanwhile_and_nothing_else(
    live: Live, caller: Caller, measure: Measure
) -> None:
    token = await caller.token("user")
    await measure(1_000, "a", "b", "c", temperature=1.0)
    async with live.follow(token) as reader:
        await reader.devices(3)
        await reader.until(lambda: reader.last_id != "")
    await measure(2_000, "b", temperature=2.0)
    await measure(3_000, "b", temperature=3.0)
    for resume in ({"resume": reader.last_id}, {"last_event_id": reader.last_id}):
        async with live.follow(token, **resume) as again:
            assert await again.devices(1) == {"b": 3.0}
            await again.until(lambda again=again: again.comments > 2)  # type: ignore[misc]
            assert [e.data["device_id"] for e in again.seen if e.data] == ["b"]


async def test_an_id_of_another_process_or_filter_or_of_nobody_gets_everything(
    live: Live, caller: Caller, measure: Measure
) -> None:
    token = await caller.token("user")
    await measure(1_000, "a", "b", temperature=1.0)
    async with live.follow(token) as reader:
        await reader.devices(2)
        await reader.until(lambda: reader.last_id != "")
    own = reader.last_id
    for strange in (f"00000000{own[8:]}", "x", "99", f"{own}x", own[:-1] + "٣"):
        async with live.follow(token, last_event_id=strange) as again:
            assert len(await again.devices(2)) == 2, strange
    async with live.follow(token, resume=own, device_id="a") as again:
        assert len(await again.devices(1)) == 1


async def test_a_slow_reader_gets_the_newest_of_each_device_from_bounded_memory(
    serve: Serve, caller: Caller, measure: Measure
) -> None:
    """1,000 devices change 30 times, 10 MB, while nothing is read."""
    devices = [f"d_{number}" for number in range(1_000)]
    token = await caller.token("user")
    await measure(0, *devices, temperature=0.0)

    async def two_polls() -> None:
        before = polls()
        await until(lambda: polls() > before + 1)

    async with serve(heartbeat_seconds=10) as live, live.follow(token) as reader:
        await reader.next()
        for change in range(1, 31):
            await measure(change * 1_000, *devices, temperature=float(change))
            await two_polls()
        newest: dict[str, float] = {}
        async with asyncio.timeout(20):
            while len(newest) < 1_000 or set(newest.values()) != {30.0}:
                reading = await reader.next()
                newest[reading["device_id"]] = reading["temperature"]
    # What lay in the sockets' buffers was sent; the rest was left out, but for the newest.
    assert len(reader.seen) < 6_000


async def test_silence_is_filled_with_comments(live: Live, caller: Caller) -> None:
    async with live.follow(await caller.token("user")) as reader:
        await reader.until(lambda: reader.comments > 3)


async def test_without_redis_it_says_so_and_goes_on_when_redis_is_back(
    live: Live, caller: Caller, measure: Measure, lines: Lines
) -> None:
    await measure(1_000, temperature=1.0)
    async with live.follow(await caller.token("user")) as reader:
        await reader.next()
        await lines.redis.cut()
        assert await reader.next("status") == {"changes": "away"}
        await measure(2_000, temperature=2.0)
        await lines.redis.mend()
        assert await reader.next("status") == {"changes": "up"}
        assert (await reader.next())["temperature"] == 2.0


async def test_it_ends_with_the_session(
    live: Live, caller: Caller, redis: Redis, measure: Measure
) -> None:
    await measure(1_000, temperature=1.0)
    token = await caller.token("user")
    async with live.follow(token) as reader:
        await reader.next()
        for key in await redis.keys(session_key("*")):
            await redis.delete(key)
        assert await reader.next("end") == {"reason": "session"}
        with pytest.raises(EOFError):
            await reader.next()


async def test_it_ends_after_its_time_and_the_client_comes_back(
    serve: Serve, caller: Caller, measure: Measure
) -> None:
    await measure(1_000, temperature=1.0)
    token = await caller.token("user")
    async with serve(max_seconds=1) as live:
        async with live.follow(token) as reader:
            assert await reader.next("end") == {"reason": "time"}
            with pytest.raises(EOFError):
                await reader.next()
        async with live.follow(token) as reader:
            assert (await reader.next())["device_id"] == DEVICE


async def test_it_ends_when_the_token_expires(
    live: Live, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await caller.token("user", life=1)
    async with live.follow(token) as reader:
        assert await reader.next("end") == {"reason": "time"}


async def test_a_server_that_ends_ends_its_streams_at_once(
    live: Live, caller: Caller, measure: Measure
) -> None:
    await measure(1_000, temperature=1.0)
    async with live.follow(await caller.token("user")) as reader:
        await reader.next()
        live.server.should_exit = True
        assert await reader.next("end") == {"reason": "shutdown"}
        await live.serving  # it would wait for its streams, as long as they last


async def test_too_many_streams_are_refused_and_room_comes_back(
    serve: Serve, caller: Caller
) -> None:
    async def status(live: Live, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with live.http.stream("GET", LIVE, headers=headers) as answer:
            if answer.status_code != 200:
                assert int(answer.headers["retry-after"]) > 0
            return int(answer.status_code)

    one, other = await caller.token("user"), await caller.token("admin")
    async with serve(streams=3, streams_per_user=2) as live:
        async with live.follow(one), live.follow(one):
            assert await status(live, one) == 429
            async with live.follow(other):
                assert await status(live, other) == 503
        await until(lambda: streams() == 0)
        assert await status(live, one) == 200


async def test_a_ticket_opens_one_stream_once(
    live: Live, caller: Caller, redis: Redis, measure: Measure
) -> None:
    await measure(1_000, temperature=1.0)
    headers = {"Authorization": f"Bearer {await caller.token('readonly')}"}
    made = await live.http.post(f"{LIVE}/tickets", headers=headers)
    assert made.status_code == 201
    ticket = made.json()["ticket"]
    [kept] = await redis.keys("live:ticket:*")
    assert ticket not in f"{kept!r} {await redis.get(kept)!r}"
    assert 0 < await redis.ttl(kept) <= made.json()["expires_in"] == 30
    async with live.follow(ticket=ticket) as reader:
        assert (await reader.next())["device_id"] == DEVICE
    assert (await live.http.get(LIVE, params={"ticket": ticket})).status_code == 401


async def test_a_ticket_is_good_for_nothing_else(live: Live, caller: Caller, redis: Redis) -> None:
    headers = {"Authorization": f"Bearer {await caller.token('admin')}"}
    ticket = (await live.http.post(f"{LIVE}/tickets", headers=headers)).json()["ticket"]
    for path in ("/api/v1/devices", f"/api/v1/devices/{DEVICE}/metrics"):
        assert (await live.http.get(path, params={"ticket": ticket})).status_code == 401
        bearer = {"Authorization": f"Bearer {ticket}"}
        assert (await live.http.get(path, headers=bearer)).status_code == 401
    [kept] = await redis.keys("live:ticket:*")
    text = json.loads(await redis.get(kept) or b"")
    await redis.set(kept, json.dumps({**text, "action": "devices:read"}))
    assert (await live.http.get(LIVE, params={"ticket": ticket})).status_code == 401
    assert await redis.exists(kept) == 0


async def test_a_ticket_ends_with_the_session_of_whoever_made_it(
    live: Live, caller: Caller, redis: Redis
) -> None:
    headers = {"Authorization": f"Bearer {await caller.token('admin')}"}
    ticket = (await live.http.post(f"{LIVE}/tickets", headers=headers)).json()["ticket"]
    for key in await redis.keys(session_key("*")):
        await redis.delete(key)
    assert (await live.http.get(LIVE, params={"ticket": ticket})).status_code == 401


async def test_without_redis_tickets_are_503(live: Live, caller: Caller, lines: Lines) -> None:
    headers = {"Authorization": f"Bearer {await caller.token('admin')}"}
    await lines.redis.cut()
    assert (await live.http.post(f"{LIVE}/tickets", headers=headers)).status_code == 503
    assert (await live.http.get(LIVE, params={"ticket": "a" * 43})).status_code == 503


async def test_nobody_polls_while_nobody_follows(live: Live, caller: Caller) -> None:
    async with live.follow(await caller.token("user")) as reader:
        await reader.until(lambda: reader.comments > 1)
    await until(lambda: streams() == 0)
    await asyncio.sleep(0.1)
    before = polls()
    await asyncio.sleep(0.2)
    assert polls() == before
