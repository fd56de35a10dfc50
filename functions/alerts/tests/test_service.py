"""AlertService through a real channel, on the real ClickHouse, Redis and mail sink."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.redis import RedisSettings
from twinup.alert.v1 import alert_pb2

from .alert_world import DEADLINE, World, credentials, device, eventually, request

pytestmark = pytest.mark.integration
NOWHERE = 9  # the discard port: nobody listens there


def stamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


async def refused(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def test_an_alert_that_was_answered_is_in_the_history(world: World) -> None:
    service, who = await world.ready(), device()
    sent = request(who)
    answer = await service.send(sent)
    assert answer.success
    assert answer.alert_id == sent.alert_id
    (record,) = (await service.history(device_id=who)).alerts
    assert record.alert_id == sent.alert_id
    assert record.alert_type == alert_pb2.ALERT_TYPE_TEMPERATURE_HIGH
    assert record.severity == alert_pb2.ALERT_SEVERITY_MEDIUM, "6 over the threshold"
    assert (record.temperature, record.threshold) == (96.0, 90.0)
    assert record.timestamp == sent.timestamp
    assert record.message == sent.message


async def test_the_same_alert_id_twice_is_one_alert(world: World) -> None:
    service, who = await world.ready(), device()
    sent = request(who)
    first, second = await service.send(sent), await service.send(sent)
    assert first.alert_id == second.alert_id
    assert second.success
    assert "repeated" in second.message
    history = await service.history(device_id=who)
    assert history.total_count == 1
    assert (await world.rows("SELECT count FROM alerts FINAL")) == [(1,)]


async def test_a_request_without_an_id_gets_the_same_one_each_time(world: World) -> None:
    service, who = await world.ready(), device()
    sent = request(who, alert_id="")
    first, second = await service.send(sent), await service.send(sent)
    assert first.alert_id == second.alert_id != ""
    assert (await service.history(device_id=who)).total_count == 1


async def test_breaches_that_go_on_are_one_alert_and_a_worse_one_is_written_at_once(
    world: World,
) -> None:
    """The last value and the count follow with the next sweep."""
    service, who = await world.ready(), device()
    values = [96.0, 111.0, 97.0]
    sent = [request(who, after=n, temperature=value) for n, value in enumerate(values)]
    answers = [await service.send(one) for one in sent]
    assert {answer.alert_id for answer in answers} == {sent[0].alert_id}
    assert [answer.message.split(":")[0] for answer in answers] == [
        "recorded",
        "deduplicated",
        "deduplicated",
    ]

    asked = "SELECT alert_id, toString(severity), value, count FROM alerts FINAL"
    assert await world.rows("SELECT toString(severity) FROM alerts FINAL") == [("CRITICAL",)]
    await asyncio.sleep(world.settings.pace.update)
    await service.sweep()
    assert await world.rows(asked) == [(sent[0].alert_id, "CRITICAL", 97.0, 3)]


async def test_alerts_that_name_no_rule_stand_for_themselves(world: World) -> None:
    service, who = await world.ready(), device()
    for n in range(3):
        await service.send(request(who, after=n, metadata={}))
    assert (await service.history(device_id=who)).total_count == 3


async def test_ten_replicas_that_receive_the_same_breach_make_one_alert_and_one_mail(
    world: World,
) -> None:
    services = [await world.ready() for _ in range(10)]
    who = device()
    sent = request(who)
    answers = await asyncio.gather(*(service.send(sent) for service in services))
    assert {answer.alert_id for answer in answers} == {sent.alert_id}
    # A later alert of another device shows that all earlier mails have gone out.
    for service in services:
        await service.send(request(device(), metadata={}))

    async def all_told() -> bool:
        rows = await world.rows("SELECT count() FROM alerts FINAL WHERE email_sent")
        return rows == [(11,)]

    await eventually(all_told)
    assert (await services[0].history(device_id=who)).total_count == 1
    about = [mail for mail in await world.mails.all() if who in str(mail["Subject"])]
    assert len(about) == 1


async def test_different_breaches_at_ten_replicas_at_once_are_one_alert(world: World) -> None:
    """Which of them opens it is chance; those that were measured before it change nothing."""
    services = [await world.ready() for _ in range(10)]
    who = device()
    sent = [request(who, after=n) for n in range(10)]
    answers = await asyncio.gather(
        *(service.send(one) for service, one in zip(services, sent, strict=True))
    )
    assert len({answer.alert_id for answer in answers}) == 1
    assert await world.rows("SELECT count() FROM alerts FINAL") == [(1,)]
    await asyncio.sleep(world.settings.pace.update)
    await services[0].sweep()
    ((last_ms, count),) = await world.rows(
        "SELECT toUnixTimestamp64Milli(last_at), count FROM alerts FINAL"
    )
    assert last_ms == sent[-1].timestamp.ToMilliseconds()
    assert 1 <= count <= 10


async def test_with_redis_emptied_an_open_alert_comes_back_from_the_history(world: World) -> None:
    """The second instance finds nothing in Redis, as after it was emptied."""
    first, who = await world.ready(), device()
    opening = request(who)
    await first.send(opening)
    other = await world.ready(prefix=f"{world.prefix}-emptied")
    answer = await other.send(request(who, after=1))
    assert answer.alert_id == opening.alert_id
    again = await other.send(opening)
    assert again.alert_id == opening.alert_id
    assert (await other.history(device_id=who)).total_count == 1


async def test_an_older_breach_than_the_open_alert_is_recorded_and_changes_nothing_else(
    world: World,
) -> None:
    service, who = await world.ready(), device()
    now = datetime.now(UTC)
    newer = request(who)
    older = request(who, timestamp=now - timedelta(hours=2))
    await service.send(newer)
    answer = await service.send(older)
    assert answer.alert_id == older.alert_id
    repeated = await service.send(older)
    assert repeated.alert_id == older.alert_id
    history = await service.history(device_id=who)
    assert [record.alert_id for record in history.alerts] == [newer.alert_id, older.alert_id]


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        credentials("a wrong token"),
        credentials(""),
        (("authorization", "a service token of the tests"),),
        (*credentials(), *credentials("another")),
    ],
    ids=["none", "wrong", "empty", "no scheme", "two"],
)
async def test_without_the_service_token_no_call_is_answered(
    world: World, metadata: tuple[tuple[str, str], ...]
) -> None:
    stub = (await world.start()).stub
    calls = [
        stub.SendAlert(request(device()), metadata=metadata),
        stub.GetAlertHistory(alert_pb2.AlertHistoryRequest(), metadata=metadata),
        stub.HealthCheck(alert_pb2.HealthCheckRequest(), metadata=metadata),
    ]
    for call in calls:
        assert (await refused(call)).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_reflection_lists_the_service_without_a_token(world: World) -> None:
    channel = (await world.start()).channel
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    names = set()
    async for answer in stub.ServerReflectionInfo(iter([asked])):
        names |= {service.name for service in answer.list_services_response.service}
    assert "twinup.alert.v1.AlertService" in names
    assert "grpc.health.v1.Health" in names


async def test_health_follows_the_history(world: World) -> None:
    there = await world.ready()
    away = await world.start(clickhouse=nowhere(world.settings.clickhouse))
    for service, expected in ((there, True), (away, False)):
        health = health_pb2_grpc.HealthStub(service.channel)
        for name in ("", "twinup.alert.v1.AlertService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            serving = health_pb2.HealthCheckResponse.SERVING
            assert (answer.status == serving) is expected
        own = await service.stub.HealthCheck(alert_pb2.HealthCheckRequest(), metadata=credentials())
        assert own.healthy is expected
        assert service.function.ready() is expected
        assert service.function.alive()


def nowhere(settings: ClickHouseSettings) -> ClickHouseSettings:
    return settings.model_copy(update={"port": NOWHERE})


async def test_history_filters_and_counts_whatever_the_limit(world: World) -> None:
    service, one, other = await world.ready(), device(), device()
    values = [91.0, 96.0, 101.0, 111.0]  # low, medium, high, critical
    sent = [
        request(who, after=n, temperature=value, metadata={})
        for who in (one, other)
        for n, value in enumerate(values)
    ]
    for alert in sent:
        await service.send(alert)

    everything = await service.history()
    assert everything.total_count == 8
    moments = [record.timestamp.ToMilliseconds() for record in everything.alerts]
    assert moments == sorted(moments, reverse=True), "newest first"

    newest = await service.history(device_id=one, limit=1)
    assert newest.total_count == 4
    assert [record.temperature for record in newest.alerts] == [111.0]

    severe = await service.history(device_id=other, min_severity=alert_pb2.ALERT_SEVERITY_HIGH)
    assert severe.total_count == 2
    assert [record.temperature for record in severe.alerts] == [111.0, 101.0]

    span = await service.history(
        device_id=one, start_time=sent[1].timestamp, end_time=sent[2].timestamp
    )
    assert span.total_count == 2
    assert {record.temperature for record in span.alerts} == {96.0, 101.0}

    assert (await service.history(device_id="nobody")).total_count == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"device_id": "no\r\nBcc: everyone@example.com"}, "device_id"),
        ({"device_id": ""}, "device_id"),
        ({"alert_type": 0}, "alert_type"),
        ({"alert_type": 77}, "alert_type"),
        ({"severity": 9}, "severity"),
        ({"alert_id": "x" * 129}, "alert_id"),
        ({"alert_id": "a/b"}, "alert_id"),
        ({"alert_id": "live"}, "alert_id"),
        ({"message": "x" * 1001}, "message"),
        ({"temperature": float("nan")}, "value"),
        ({"threshold": float("inf")}, "threshold"),
        ({"timestamp": Timestamp(seconds=2**40)}, "timestamp"),
        ({"timestamp": datetime.now(UTC) + timedelta(days=9)}, "timestamp"),
        ({"metadata": {"rule": "r" * 65}}, "rule"),
        ({"metadata": {"metric": "speed"}}, "metric"),
        ({"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    world: World, fields: dict[str, Any], named: str
) -> None:
    service = await world.start()
    error = await refused(service.send(request(device(), **fields)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert named in (error.details() or "")


@pytest.mark.parametrize(
    "filters",
    [
        {"limit": -1},
        {"limit": 1001},
        {"min_severity": 5},
        {"start_time": stamp(datetime(2026, 1, 2)), "end_time": stamp(datetime(2026, 1, 1))},  # noqa: DTZ001
    ],
)
async def test_what_is_wrong_with_a_question_is_said(
    world: World, filters: dict[str, object]
) -> None:
    service = await world.start()
    error = await refused(service.history(**filters))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_request_over_the_message_limit_is_refused(world: World) -> None:
    service = await world.start()
    error = await refused(service.send(request(device(), message="x" * 70_000)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_with_clickhouse_away_calls_are_unavailable_and_nothing_is_claimed(
    world: World,
) -> None:
    """Once ClickHouse is back, the same request is recorded and told of as if it were new."""
    away = await world.start(clickhouse=nowhere(world.settings.clickhouse))
    sent = request(device())
    assert (await refused(away.send(sent))).code() is grpc.StatusCode.UNAVAILABLE
    assert (await refused(away.history())).code() is grpc.StatusCode.UNAVAILABLE
    there = await world.ready()
    answer = await there.send(sent)
    assert answer.alert_id == sent.alert_id
    assert (await there.history(device_id=sent.device_id)).total_count == 1
    assert await eventually(world.mails.all)


async def test_with_redis_away_nothing_is_decided_and_nothing_lost(world: World) -> None:
    """Redis says who decides. Without it calls come again, and then there is one alert."""
    away, there = await world.ready(redis=RedisSettings(port=NOWHERE)), await world.ready()
    sent = request(device())
    assert (await refused(away.send(sent))).code() is grpc.StatusCode.UNAVAILABLE
    assert (await away.history()).total_count == 0, "what is recorded can be read"
    assert (await there.send(sent)).alert_id == sent.alert_id
    assert (await refused(away.send(sent))).code() is grpc.StatusCode.UNAVAILABLE
    assert (await there.history()).total_count == 1


@contextlib.asynccontextmanager
async def silent_mail_server() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A server that takes connections and never says a word."""
    asked, released = asyncio.Event(), asyncio.Event()

    async def keep_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await released.wait()
        writer.close()

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        released.set()
        server.close()


async def test_a_mail_server_that_does_not_answer_holds_up_no_alert(world: World) -> None:
    """While one mail hangs for good, further alerts are answered and recorded."""
    async with silent_mail_server() as (port, asked):
        smtp = world.settings.smtp.model_copy(update={"port": port, "collect": 0.0, "tries": 1})
        service = await world.ready(smtp=smtp)
        await service.send(request(device()))
        async with asyncio.timeout(DEADLINE):
            await asked.wait()
        others = [request(device()) for _ in range(20)]
        await asyncio.gather(*(service.send(one) for one in others))
        history = await service.history()
        assert history.total_count == 21
        assert not any(record.email_sent for record in history.alerts)


async def test_many_alerts_at_once_become_one_mail(world: World) -> None:
    smtp = world.settings.smtp.model_copy(update={"collect": 1.0, "digest_over": 3})
    service = await world.ready(smtp=smtp)
    sent = [request(device(), temperature=91.0 + n) for n in range(12)]
    await asyncio.gather(*(service.send(one) for one in sent))

    async def all_told() -> bool:
        rows = await world.rows("SELECT count() FROM alerts FINAL WHERE email_sent")
        return rows == [(12,)]

    await eventually(all_told)
    mails = await world.mails.all()
    assert sum("12 alerts on 12 devices" in str(mail["Subject"]) for mail in mails) == 1
    assert len(mails) == 1
    body = mails[0].get_body(("html",))
    assert body is not None
    assert all(one.device_id in body.get_content() for one in sent)


async def test_what_was_told_of_is_marked_in_the_record(world: World) -> None:
    service, who = await world.ready(), device()
    await service.send(request(who))

    async def told() -> bool:
        return (await service.history(device_id=who)).alerts[0].email_sent

    await eventually(told)
    # Further breaches must not take the mark away.
    await service.send(request(who, after=2, temperature=97.0))
    await asyncio.sleep(world.settings.pace.update)
    await service.sweep()
    assert (await service.history(device_id=who)).alerts[0].temperature == 97.0
    assert await told()


async def test_a_storm_of_alerts_is_recorded_whole_and_within_the_limits(world: World) -> None:
    """More requests at once than Redis connections: all of them are decided on together."""
    service = await world.ready()
    sent = [request(device()) for _ in range(300)]
    answers = await asyncio.gather(*(service.send(one) for one in sent))
    assert [answer.alert_id for answer in answers] == [one.alert_id for one in sent]
    assert (await service.history(limit=1)).total_count == 300

    async def told() -> bool:
        rows = await world.rows("SELECT count() FROM alerts FINAL WHERE email_sent")
        return rows == [(100,)]

    await eventually(told)
