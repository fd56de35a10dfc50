"""SilenceService through a real channel, on the real ClickHouse, and what it keeps from people."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sensor_shared.adapters.clickhouse import ClickHouseSettings
from twinup.alert.v1 import alert_pb2, silence_pb2, silence_pb2_grpc

from .alert_world import Service, World, credentials, device, eventually, request

pytestmark = pytest.mark.integration
NOWHERE = 9  # the discard port: nobody listens there
UNKNOWN: Any = 99


class Client:
    """Calls with the service token."""

    def __init__(self, service: Service):
        self._stub: Any = silence_pb2_grpc.SilenceServiceStub(service.channel)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._stub, name)
        message = getattr(silence_pb2, f"{name}Request")
        return lambda **fields: call(message(**fields), metadata=credentials())


def later(**delta: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**delta)


def wanted(**fields: Any) -> dict[str, Any]:
    return {
        "scope": silence_pb2.Scope(
            devices=["industrial_*"],
            device_types=["industrial"],
            alert_types=[alert_pb2.ALERT_TYPE_TEMPERATURE_HIGH],
            regions=["west"],
            rules=["temperature-high"],
            severities=[alert_pb2.ALERT_SEVERITY_LOW],
        ),
        "starts_at": later(hours=1),
        "ends_at": later(hours=2),
        "recurrence": silence_pb2.Recurrence(cron="0 22 * * SAT", zone="Asia/Tokyo", minutes=5),
        "author": "ayse",
        "reason": "the furnace is being repaired",
    } | fields


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_silence_is_kept_as_it_was_made(world: World) -> None:
    silences = Client(await world.ready())
    fields = wanted()
    made = await silences.CreateSilence(**fields)
    assert made.silence_id
    assert not made.active
    for name in ("scope", "recurrence", "author", "reason"):
        assert getattr(made, name) == fields[name], name
    for name in ("starts_at", "ends_at"):
        assert getattr(made, name).ToDatetime(UTC) == fields[name], name
    assert await silences.GetSilence(silence_id=made.silence_id) == made


async def test_the_largest_silence_that_there_may_be_is_taken(world: World) -> None:
    silences = Client(await world.ready())
    wide = "\U0001f525"  # 4 bytes in UTF-8
    names = [wide * 64] * 100
    scope = silence_pb2.Scope(
        devices=[wide * 128] * 100, device_types=names, regions=names, rules=names
    )
    made = await silences.CreateSilence(**wanted(scope=scope, reason=wide * 1_000))
    assert made.scope == scope


async def test_without_a_start_it_holds_at_once_and_without_a_scope_for_all(world: World) -> None:
    silences = Client(await world.ready())
    made = await silences.CreateSilence(
        ends_at=later(hours=1), author="ayse", reason="the whole plant is off"
    )
    assert made.active
    assert made.scope == silence_pb2.Scope()
    assert not made.HasField("recurrence")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"author": ""}, "author"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 1_001}, "reason"),
        ({"ends_at": None}, "ends_at"),
        ({"ends_at": later(minutes=30)}, "ends_at"),
        ({"ends_at": later(days=400)}, "366 days"),
        ({"starts_at": later(hours=-3), "ends_at": later(hours=-2)}, "over already"),
        ({"scope": silence_pb2.Scope(devices=["x" * 129])}, "scope.devices.0"),
        ({"scope": silence_pb2.Scope(devices=["x"] * 101)}, "scope.devices"),
        ({"scope": silence_pb2.Scope(alert_types=[UNKNOWN])}, "alert_types"),
        ({"scope": silence_pb2.Scope(severities=[UNKNOWN])}, "severity"),
        ({"recurrence": silence_pb2.Recurrence(cron="often", minutes=5)}, "recurrence"),
        ({"recurrence": silence_pb2.Recurrence(cron="0 0 * * *")}, "recurrence.minutes"),
        (
            {"recurrence": silence_pb2.Recurrence(cron="0 0 * * *", zone="Mars", minutes=5)},
            "recurrence.zone",
        ),
    ],
)
async def test_what_is_wrong_with_a_silence_is_said(
    world: World, fields: dict[str, Any], named: str
) -> None:
    silences = Client(await world.ready())
    code, said = await refused(silences.CreateSilence(**wanted(**fields)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert named in said


async def test_a_silence_is_changed_in_what_the_request_has_and_ended(world: World) -> None:
    silences = Client(await world.ready())
    made = await silences.CreateSilence(**wanted())
    changed = await silences.UpdateSilence(
        silence_id=made.silence_id, ends_at=later(hours=5), author="mehmet"
    )
    assert changed.author == "mehmet"
    assert changed.reason == made.reason
    assert changed.scope == made.scope
    assert changed.ends_at.ToDatetime(UTC) > made.ends_at.ToDatetime(UTC)
    ended = await silences.EndSilence(silence_id=made.silence_id, author="mehmet")
    assert ended.ended_by == "mehmet"
    again = await silences.EndSilence(silence_id=made.silence_id, author="ayse")
    assert again == ended, "what is over stays as it is"
    code, _ = await refused(
        silences.UpdateSilence(silence_id=made.silence_id, reason="more", author="ayse")
    )
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert await world.rows("SELECT count() FROM silences FINAL") == [(1,)]


async def test_who_changes_or_ends_a_silence_must_be_said_and_it_must_exist(world: World) -> None:
    silences = Client(await world.ready())
    for call in (
        silences.GetSilence(silence_id="none"),
        silences.UpdateSilence(silence_id="none", author="ayse"),
        silences.EndSilence(silence_id="none", author="ayse"),
    ):
        assert (await refused(call))[0] is grpc.StatusCode.NOT_FOUND
    for call in (silences.UpdateSilence(silence_id="a"), silences.EndSilence(silence_id="a")):
        assert (await refused(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_silences_are_listed_page_by_page_each_once(world: World) -> None:
    silences = Client(await world.ready())
    made = [
        await silences.CreateSilence(**wanted(ends_at=later(hours=2 + n // 2))) for n in range(7)
    ]
    await silences.EndSilence(silence_id=made[0].silence_id, author="ayse")
    found, cursor = [], ""
    while True:
        page = await silences.ListSilences(limit=2, cursor=cursor)
        found += [one.silence_id for one in page.silences]
        cursor = page.next_cursor
        if not cursor:
            break
    assert sorted(found) == sorted(one.silence_id for one in made[1:])
    assert len(found) == len(set(found))
    everything = await silences.ListSilences(ended=True)
    assert len(everything.silences) == 7
    ends = [one.ends_at.ToMilliseconds() for one in everything.silences]
    assert ends == sorted(ends, reverse=True)
    for wrong in ({"limit": -1}, {"limit": 1_001}, {"cursor": "none"}, {"cursor": "\u00fc"}):
        assert (await refused(silences.ListSilences(**wrong)))[0] is (
            grpc.StatusCode.INVALID_ARGUMENT
        )


async def test_without_the_service_token_no_call_is_answered(world: World) -> None:
    service = await world.start()
    stub: Any = silence_pb2_grpc.SilenceServiceStub(service.channel)
    for name in ("Create", "Get", "Update", "End"):
        message = getattr(silence_pb2, f"{name}SilenceRequest")()
        code, _ = await refused(getattr(stub, f"{name}Silence")(message))
        assert code is grpc.StatusCode.UNAUTHENTICATED
    code, _ = await refused(stub.ListSilences(silence_pb2.ListSilencesRequest()))
    assert code is grpc.StatusCode.UNAUTHENTICATED


def nowhere(settings: ClickHouseSettings) -> ClickHouseSettings:
    return settings.model_copy(update={"port": NOWHERE})


async def test_with_clickhouse_away_calls_are_unavailable(world: World) -> None:
    service = await world.start(clickhouse=nowhere(world.settings.clickhouse))
    silences = Client(service)
    for call in (silences.CreateSilence(**wanted()), silences.ListSilences()):
        assert (await refused(call))[0] is grpc.StatusCode.UNAVAILABLE
    health = health_pb2_grpc.HealthStub(service.channel)
    name = "twinup.alert.v1.SilenceService"
    answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_nobody_gets_a_mail_about_a_silenced_device_until_the_silence_ends(
    world: World,
) -> None:
    service, quiet, other = await world.ready(), device(), device()
    silences = Client(service)
    made = await silences.CreateSilence(
        scope=silence_pb2.Scope(devices=[quiet]),
        ends_at=later(hours=1),
        author="ayse",
        reason="the furnace is being repaired",
    )
    await service.send(request(quiet))
    await service.send(request(other))
    assert (await service.history(device_id=quiet)).total_count == 1, "it is recorded"
    assert await world.rows(
        f"SELECT reason FROM notifications FINAL WHERE device_id = '{quiet}'"  # noqa: S608
    ) == [(f"silenced by {made.silence_id}",)]
    await eventually(world.mails.all)
    await asyncio.sleep(1.0)
    assert [quiet in str(mail["Subject"]) for mail in await world.mails.all()] == [False]
    await silences.EndSilence(silence_id=made.silence_id, author="mehmet")

    async def told() -> bool:
        return any(quiet in str(mail["Subject"]) for mail in await world.mails.all())

    await eventually(told)
