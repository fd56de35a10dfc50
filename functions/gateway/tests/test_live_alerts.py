"""The live stream of alerts over real sockets, on the real Redis."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from sensor_gateway.live.alert_events import AlertFilter
from sensor_gateway.live.alert_feed import AlertFeed
from sensor_gateway.live.stream import Stream, Terms
from sensor_shared.adapters.alert_tail import BEGIN, AlertTail
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.adapters.sessions import session_key
from sensor_shared.contracts.access import Claims, Role
from sensor_shared.contracts.alert_changes import (
    AlertChange,
    AlertSnapshot,
    ChangeKind,
    change_id,
    data_of,
)
from sensor_shared.contracts.rules import AlertType, Severity
from sensor_shared.testing.parts import Lines

from .conftest import Caller, add_key, until
from .following import LIVE, QUICK, Live, Reader, Serve, serve, streams

__all__ = ["serve"]
pytestmark = pytest.mark.integration
ALERTS = "/api/v1/alerts/live"
KEY = "alerts:live"
KEEP = 10_000
NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)


def change(number: int, **fields: Any) -> AlertChange:
    """Change `number`, of an alert of its own."""
    before = fields.pop("severity_before", None)
    kind = fields.pop("kind", ChangeKind.RAISED)
    values: dict[str, Any] = {
        "alert_id": f"alert-{number}",
        "device_id": "weather_station_000001",
        "rule_id": "temperature-high",
        "alert_type": AlertType.TEMPERATURE_HIGH,
        "severity": Severity.HIGH,
        "message": f"change {number} of 25 °C\nand more",
        "region": "north",
        "first_at": NOW,
        "last_at": NOW,
        **fields,
    }
    return AlertChange(
        change_id=change_id(f"alert-{number}", 1),
        kind=kind,
        at=datetime.now(UTC),
        by="system",
        severity_before=before,
        alert=AlertSnapshot(**values),
    )


class Writer:
    """Appends to the stream as alerts does, past the gateway's line to Redis."""

    def __init__(self, redis: Redis):
        self.redis = redis
        self.tail = AlertTail(redis)
        self.number = 0

    async def __call__(self, count: int = 1, **fields: Any) -> list[AlertChange]:
        made = [change(self.number + one, **fields) for one in range(count)]
        self.number += count
        if made:
            await self.tail.append(made, keep=KEEP)
        return made

    async def trim(self, left: int) -> None:
        await self.redis.xtrim(KEY, left, approximate=False)


@pytest.fixture
def append(redis: Redis) -> Writer:
    return Writer(redis)


@pytest.fixture
async def live(serve: Serve) -> AsyncIterator[Live]:
    async with serve() as made:
        yield made


async def alerts(reader: Reader, count: int) -> list[str]:
    """The ids of the next alerts."""
    return [(await reader.next("alert"))["alert"]["alert_id"] for _ in range(count)]


def ids(changes: list[AlertChange]) -> list[str]:
    return [one.alert.alert_id for one in changes]


async def expect(reader: Reader, made: list[AlertChange]) -> None:
    """These are the next alerts."""
    assert await alerts(reader, len(made)) == ids(made)


def names(reader: Reader) -> list[str]:
    return [event.name for event in reader.seen if event.name]


async def test_each_change_is_sent_once_in_order_and_whole(
    live: Live, caller: Caller, append: Writer
) -> None:
    await append(3)
    async with live.follow(await caller.token("readonly"), ALERTS) as reader:
        assert await reader.next("reset") == {"reason": "begin"}
        made = await append(300)
        acknowledged = msgspec.structs.replace(
            made[0], kind=ChangeKind.ACKNOWLEDGED, by="maria", note="on my way"
        )
        await append.tail.append([acknowledged], keep=KEEP)
        await expect(reader, made)
        assert await reader.next("alert") == msgspec.json.decode(data_of(acknowledged))
        assert reader.last_id == str(await append.tail.newest())


async def test_who_follows_from_the_first_change_on_gets_the_first(
    live: Live, caller: Caller, append: Writer
) -> None:
    async with live.follow(await caller.token("user"), ALERTS) as reader:
        await reader.next("reset")
        await expect(reader, await append(2))


async def test_only_what_the_filter_takes_is_sent(
    live: Live, caller: Caller, append: Writer
) -> None:
    token = await caller.token("user")
    wanted: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"station", "meter", "low", "better", "group"}),
        ({"device_id": ["weather_station_000001", "x"]}, {"station", "low", "better"}),
        ({"device_id": "region:south"}, {"group"}),
        ({"region": ["south", "west"]}, {"meter", "group"}),
        ({"type": ["DEVICE_OFFLINE", "HUMIDITY_LOW"]}, {"group"}),
        ({"severity": "HIGH"}, {"station", "better", "group"}),
        ({"severity": "CRITICAL", "region": "south"}, {"group"}),
        ({"device_id": "flow_meter_1", "region": "north"}, set()),
    ]
    for query, expected in wanted:
        async with live.follow(token, ALERTS, **query) as reader:
            await reader.next("reset")
            await append(alert_id="station")
            await append(
                1,
                alert_id="meter",
                device_id="flow_meter_1",
                region="south",
                severity=Severity.MEDIUM,
            )
            await append(alert_id="low", severity=Severity.LOW)
            await append(1, alert_id="better", severity=Severity.LOW, severity_before=Severity.HIGH)
            await append(
                1,
                alert_id="group",
                device_id="region:south",
                region="south",
                alert_type=AlertType.DEVICE_OFFLINE,
                severity=Severity.CRITICAL,
            )
            assert set(await alerts(reader, len(expected))) == expected, query
            await reader.until(lambda reader=reader: reader.comments > 2)  # type: ignore[misc]
            assert names(reader).count("alert") == len(expected), query


async def test_a_group_of_any_name_is_followed(live: Live, caller: Caller, append: Writer) -> None:
    group = "region:Kuzey Ege / é"
    async with live.follow(await caller.token("user"), ALERTS, device_id=group) as reader:
        await reader.next("reset")
        await append()
        await expect(reader, await append(device_id=group))


async def test_an_unknown_type_or_severity_is_422(live: Live, caller: Caller) -> None:
    headers = {"Authorization": f"Bearer {await caller.token('user')}"}
    for wrong in ({"type": "x"}, {"severity": "high"}, {"device_id": "a\nb"}):
        answer = await live.http.get(ALERTS, params=wrong, headers=headers)
        assert answer.status_code == 422, wrong


async def test_who_comes_back_to_another_process_gets_every_change_since_the_id(
    serve: Serve, caller: Caller, append: Writer
) -> None:
    """Also with another filter, and by header as by query."""
    token = await caller.token("user")
    async with serve() as one, serve() as other:
        async with one.follow(token, ALERTS) as reader:
            await reader.next("reset")
            first = await append(5)
            assert await alerts(reader, 3) == ids(first[:3])
        missed = await append(700)  # more than one page
        for resume in ({"resume": reader.last_id}, {"last_event_id": reader.last_id}):
            for live in (one, other):
                async with live.follow(token, ALERTS, severity="HIGH", **resume) as again:
                    await expect(again, first[3:] + missed)
                    later = await append()
                    await expect(again, later)
                    assert "reset" not in names(again)
                    missed += later


async def test_an_id_that_is_not_held_any_more_says_so_and_goes_on_from_now(
    live: Live, caller: Caller, append: Writer
) -> None:
    token = await caller.token("user")
    async with live.follow(token, ALERTS) as reader:
        await reader.next("reset")
        await append(10)
        await alerts(reader, 5)
    held = [str(entry.id) for entry in await append.tail.after(BEGIN, 100)]
    await append.trim(4)
    strange = ("x", "0-0", "00-1", "1-1", "9" * 30 + "-1", f"{2**64 - 1}-0", held[0], held[5])
    for gone in strange:
        async with live.follow(token, ALERTS, last_event_id=gone) as again:
            assert await again.next("reset") == {"reason": "gap"}, gone
            later = await append()
            await expect(again, later)
            assert names(again) == ["reset", "alert"]
        await append.trim(4)


async def test_changes_that_never_came_and_such_as_nobody_can_read_are_a_gap(
    live: Live, caller: Caller, append: Writer
) -> None:
    async with live.follow(await caller.token("user"), ALERTS, severity="CRITICAL") as reader:
        await reader.next("reset")
        await append.tail.append([change(1)], keep=KEEP, after_gap=True)
        assert await reader.next("reset") == {"reason": "gap"}
        await append.redis.xadd(KEY, {"change": b'{"of": "another version"}'})
        assert await reader.next("reset") == {"reason": "gap"}
        await expect(reader, await append(severity=Severity.CRITICAL))


async def test_a_filter_that_takes_nothing_moves_the_id_on(
    live: Live, caller: Caller, append: Writer
) -> None:
    """Otherwise who comes back after a day without an alert of theirs would be sent a gap; and a
    proxy would take a stream without a word for a dead one, however much is left out."""

    over = asyncio.Event()

    async def keep_coming() -> None:
        while not over.is_set():
            await append()
            await asyncio.sleep(0.02)  # more often than heartbeats are sent

    token = await caller.token("user")
    async with live.follow(token, ALERTS, region="nowhere") as reader:
        await reader.next("reset")
        coming = asyncio.create_task(keep_coming())
        for _ in range(3):
            before = reader.last_id
            await reader.until(lambda before=before: reader.last_id != before)  # type: ignore[misc]
        over.set()
        await coming
        newest = str(await append.tail.newest())
        await reader.until(lambda: reader.last_id == newest)
        comments = reader.comments
        await reader.until(lambda: reader.comments > comments + 1)  # nothing new: only comments
    assert names(reader) == ["reset"]


async def test_a_slow_reader_gets_every_change(
    serve: Serve, caller: Caller, append: Writer
) -> None:
    """2,400 changes, 2 MB: more than the sockets hold, and more than are kept in memory."""
    token = await caller.token("user")
    async with serve(heartbeat_seconds=10) as live, live.follow(token, ALERTS) as reader:
        await reader.next("reset")
        made = [one for _ in range(12) for one in await append(200)]
        async with asyncio.timeout(30):
            await expect(reader, made)
        assert names(reader).count("reset") == 1


async def test_a_reader_that_is_too_slow_is_told_to_list_anew(
    serve: Serve, caller: Caller, append: Writer
) -> None:
    token = await caller.token("user")
    async with serve(heartbeat_seconds=10) as live, live.follow(token, ALERTS) as reader:
        await reader.next("reset")
        await append(4_000)
        await append.trim(10)
        assert await reader.next("reset") == {"reason": "gap"}
        assert names(reader).count("alert") < 4_000
        await expect(reader, await append())


async def test_without_redis_it_says_so_and_misses_nothing_when_redis_is_back(
    live: Live, caller: Caller, append: Writer, lines: Lines
) -> None:
    await append()  # of an empty stream nobody could tell what it was before
    async with live.follow(await caller.token("user"), ALERTS) as reader:
        await reader.next("reset")
        first = await append()
        await expect(reader, first)
        await lines.redis.cut()
        assert await reader.next("status") == {"changes": "away"}
        missed = await append(3)
        await lines.redis.mend()
        await expect(reader, missed)
        await reader.until(lambda: names(reader).count("status") == 2)
        assert names(reader).count("reset") == 1


async def test_a_redis_that_hangs_is_away(
    live: Live, caller: Caller, append: Writer, lines: Lines
) -> None:
    await append()
    async with live.follow(await caller.token("user"), ALERTS) as reader:
        await reader.next("reset")
        lines.redis.stall()
        assert await reader.next("status", 5) == {"changes": "away"}
        await lines.redis.mend()
        assert await reader.next("status") == {"changes": "up"}
        await expect(reader, await append())


async def test_who_opens_it_while_redis_is_away_is_told_and_begins_when_it_is_back(
    serve: Serve, caller: Caller, append: Writer, lines: Lines
) -> None:
    token = await caller.token("user")
    await append()
    async with serve() as live, live.follow(token, ALERTS) as reader:
        await reader.next("reset")
        await lines.redis.cut()
        async with live.follow(token, ALERTS) as late:
            assert await late.next("status") == {"changes": "away"}
            await lines.redis.mend()
            assert await late.next("reset") == {"reason": "begin"}
            await expect(late, await append())


@pytest.mark.parametrize("before", [1, 5])
async def test_a_redis_that_was_emptied_is_a_gap(
    live: Live, caller: Caller, append: Writer, before: int
) -> None:
    await append(before)
    async with live.follow(await caller.token("user"), ALERTS) as reader:
        await reader.next("reset")
        await append(3)
        await alerts(reader, 3)
        await append.redis.delete(KEY)
        assert await reader.next("reset") == {"reason": "gap"}
        await expect(reader, await append())


async def test_it_ends_with_the_session(live: Live, caller: Caller, redis: Redis) -> None:
    async with live.follow(await caller.token("user"), ALERTS) as reader:
        await reader.next("reset")
        for key in await redis.keys(session_key("*")):
            await redis.delete(key)
        assert await reader.next("end") == {"reason": "session"}


async def test_a_server_that_ends_ends_its_streams_at_once(live: Live, caller: Caller) -> None:
    async with live.follow(await caller.token("user"), ALERTS) as reader:
        await reader.next("reset")
        live.server.should_exit = True
        assert await reader.next("end") == {"reason": "shutdown"}
        await live.serving


async def test_limits_count_streams_of_both_kinds_together(serve: Serve, caller: Caller) -> None:
    token = await caller.token("user")
    headers = {"Authorization": f"Bearer {token}"}
    async with serve(streams_per_user=2) as live:
        async with live.follow(token), live.follow(token, ALERTS):
            for path in (LIVE, ALERTS):
                assert (await live.http.get(path, headers=headers)).status_code == 429
        await until(lambda: streams() == 0)
        async with live.follow(token, ALERTS) as reader:
            await reader.next("reset")


async def test_a_ticket_opens_the_stream_that_it_was_made_for_once(
    live: Live, caller: Caller
) -> None:
    headers = {"Authorization": f"Bearer {await caller.token('readonly')}"}

    async def ticket(stream: str) -> str:
        made = await live.http.post(f"{stream}/tickets", headers=headers)
        assert made.status_code == 201
        text: str = made.json()["ticket"]
        return text

    for own, other in ((ALERTS, LIVE), (LIVE, ALERTS)):
        assert (await live.http.get(other, params={"ticket": await ticket(own)})).status_code == 401
    good = await ticket(ALERTS)
    async with live.follow(path=ALERTS, ticket=good) as reader:
        await reader.next("reset")
    assert (await live.http.get(ALERTS, params={"ticket": good})).status_code == 401


async def test_nobody_waits_at_redis_while_nobody_follows(
    live: Live, caller: Caller, redis: Redis
) -> None:
    async def looks() -> list[dict[str, str]]:
        number = str(redis.connection_pool.connection_kwargs["db"])
        found = await redis.client_list()
        return [one for one in found if one["cmd"] == "xread" and one["db"] == number]

    token = await caller.token("user")
    async with live.follow(token, ALERTS) as one, live.follow(token, ALERTS) as other:
        for reader in (one, other):
            await reader.until(lambda reader=reader: reader.comments > 1)  # type: ignore[misc]
        [look] = await looks()
        assert "b" in look["flags"]
    await until(lambda: streams() == 0)
    await asyncio.sleep(1.2)  # the look that was under way has ended
    for _ in range(30):
        assert not any("b" in look["flags"] for look in await looks())
        await asyncio.sleep(0.02)


async def test_the_time_from_the_decision_to_the_streams_is_measured(
    live: Live, caller: Caller, append: Writer
) -> None:
    def count() -> float:
        name = "sensor_gateway_live_alert_latency_ms_count"
        return REGISTRY.get_sample_value(name) or 0.0

    before = count()
    async with live.follow(await caller.token("user"), ALERTS) as reader:
        await reader.next("reset")
        await asyncio.sleep(0.1)
        await append(2)
        await alerts(reader, 2)
    assert count() == before + 2


@pytest.mark.parametrize(
    "change",
    ["api_keys UPDATE revoked_at = now64(3)", "users UPDATE disabled = true"],
    ids=["the key revoked", "its owner disabled"],
)
async def test_a_key_follows_until_it_opens_nothing_any_more(
    live: Live, sql: Any, append: Writer, change: str
) -> None:
    key = await add_key(sql, "machine", "alerts:read")
    async with live.follow(key, ALERTS) as reader:
        await reader.next("reset")
        await asyncio.sleep(4 * QUICK["session_seconds"])
        await expect(reader, await append())
        await sql.command(f"ALTER TABLE {change} WHERE 1 SETTINGS mutations_sync = 1")
        for name in ("auth:apikey:*", "auth:owner:*"):  # copies of before
            await append.redis.delete(*await append.redis.keys(name))
        assert await reader.next("end") == {"reason": "session"}


async def test_a_key_makes_no_ticket(live: Live, sql: Any) -> None:
    """It would stand for a session, which a key has not: it would open nothing."""
    headers = {"X-API-Key": await add_key(sql, "machine", "alerts:read")}
    answer = await live.http.post(f"{ALERTS}/tickets", headers=headers)
    assert answer.status_code == 403
    assert "the key itself" in answer.json()["detail"]


TERMS = Terms(Claims("maria", Role.USER, "session", "token", 0, 2**40), 3_600, 60)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 300),  # changes that come while nobody follows
        st.sampled_from([None, None, None, 1, 5, 250]),  # of all are held then; None: all
        st.integers(0, 300),  # changes that come while the client follows
        st.integers(0, 700),  # events that reach it before it goes away
    ),
    min_size=1,
    max_size=5,
)


@given(STEPS)
@example([(0, None, 3, 2), (5, None, 3, 8), (2, 1, 3, 9)])
@settings(max_examples=20, deadline=None)
def test_who_comes_back_misses_nothing_without_being_told(
    redis_server: Any, worker_id: str, steps: list[tuple[int, int | None, int, int]]
) -> None:
    """Whatever was lost meanwhile, and though each time another process is asked: after an `alert`
    comes the very next one, after a `reset` the one after the id that it has."""
    asyncio.run(_comes_back(redis_server, worker_id, steps))


async def _comes_back(
    server: Any, worker: str, steps: list[tuple[int, int | None, int, int]]
) -> None:
    number = 1 + int(worker.removeprefix("gw") if worker != "master" else 0) % 15
    section = RedisSettings(host=server.host, port=server.port, db=number, timeout=5)
    async with connect(section) as redis, connect(section) as blocking:
        await redis.delete(KEY)
        append, last_id, reached = Writer(redis), None, 0
        for before, held, during, events in steps:
            await append(before)
            if held is not None:
                await append.trim(held)
            feed = AlertFeed(AlertTail(redis), AlertTail(blocking))
            feed.start()
            stream = feed.open(TERMS, AlertFilter(), last_id)
            newest = await append.tail.newest()
            sent = await _sent(stream)
            expected = reached
            goes_on = last_id is not None and await redis.xrange(KEY, last_id, last_id)
            after = append.number
            await append(during)
            place = str(await append.tail.newest())
            async with asyncio.timeout(10):
                while during and (
                    not sent or sent[-1].get("id") != place
                ):  # the feed looks meanwhile
                    sent += await _sent(stream)
                    await asyncio.sleep(0.001)
            assert [one["event"] for one in sent].count("reset") == (not goes_on)
            for position, fields in enumerate(sent):
                if fields["event"] == "reset":
                    assert fields.get("id") == (str(newest) if newest != BEGIN else None)
                    expected = after
                else:
                    alert = msgspec.json.decode(fields["data"])["alert"]
                    assert alert["alert_id"] == f"alert-{expected}"
                    expected += 1
                if position < events:
                    last_id, reached = fields.get("id", last_id), expected
            assert expected == append.number
            feed.close(stream)
            await feed.stop()


async def _sent(stream: Stream) -> list[dict[str, str]]:
    """What the stream sends until nothing is left, an event each."""
    text = b"".join([piece async for piece in stream.pieces()]).decode()
    return [
        dict(line.split(": ", 1) for line in event.splitlines())
        for event in text.split("\n\n")[:-1]
    ]
