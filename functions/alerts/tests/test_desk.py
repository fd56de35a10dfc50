"""What people do with alerts, through a real channel: list, acknowledge, clear, comment."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from twinup.alert.v1 import alert_pb2

from .alert_world import Service, World, credentials, device, request

pytestmark = pytest.mark.integration


async def call(service: Service, method: str, message: Any) -> Any:
    return await getattr(service.stub, method)(message, metadata=credentials())


async def change(service: Service, method: str, alert_id: str, user: str, note: str = "") -> Any:
    asked = alert_pb2.ChangeAlertRequest(alert_id=alert_id, user=user, note=note)
    return (await call(service, method, asked)).alert


async def story(service: Service, alert_id: str) -> Any:
    return await call(service, "GetAlert", alert_pb2.GetAlertRequest(alert_id=alert_id))


async def kinds(service: Service, alert_id: str) -> list[tuple[str, str]]:
    return [(one.kind, one.by) for one in (await story(service, alert_id)).changes]


async def refused(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code: grpc.StatusCode = caught.value.code()
    return code


async def test_an_alert_has_its_whole_story(world: World) -> None:
    service, who = await world.ready(), device()
    opening = request(who)
    id_ = (await service.send(opening)).alert_id
    await service.send(request(who, after=1, temperature=111.0))
    await change(service, "AcknowledgeAlert", id_, "ann", "on my way")
    await change(service, "CommentAlert", id_, "bob", "the fan is off")
    over = await change(service, "ClearAlert", id_, "ann", "fan is on")
    assert over.state == alert_pb2.ALERT_STATE_CLEARED
    assert (over.acknowledged_by, over.cleared_by) == ("ann", "ann")
    assert await kinds(service, id_) == [
        ("raised", "system"),
        ("updated", "system"),
        ("acknowledged", "ann"),
        ("commented", "bob"),
        ("cleared", "ann"),
    ]
    found = await story(service, id_)
    versions = [one.version for one in found.changes]
    assert versions == sorted(versions)
    assert [one.note for one in found.changes][2:] == ["on my way", "the fan is off", "fan is on"]
    assert found.changes[1].severity_before == alert_pb2.ALERT_SEVERITY_MEDIUM
    assert found.alert.severity == alert_pb2.ALERT_SEVERITY_CRITICAL


async def test_the_same_click_at_ten_replicas_is_one_change(world: World) -> None:
    services = [await world.ready() for _ in range(10)]
    id_ = (await services[0].send(request(device()))).alert_id
    for method in ("AcknowledgeAlert", "ClearAlert"):
        answers = await asyncio.gather(
            *(change(one, method, id_, f"user-{n}") for n, one in enumerate(services))
        )
        assert len({(one.acknowledged_by, one.cleared_by) for one in answers}) == 1
    for _ in range(3):
        await change(services[0], "CommentAlert", id_, "ann", "seen")
    found = [kind for kind, _ in await kinds(services[0], id_)]
    assert found == ["raised", "acknowledged", "cleared", "commented"]


async def test_an_older_alert_than_the_open_one_can_be_commented_and_the_open_one_stays(
    world: World,
) -> None:
    pace = world.settings.pace.model_copy(update={"deduplication": 1.0})
    service, who = await world.ready(pace=pace), device()
    older = (await service.send(request(who, after=-600))).alert_id
    await service.sweep()
    newer = request(who, after=0)
    # Cleared by hand just now, a breach of a minute ago is settled; a later one opens anew.
    await change(service, "ClearAlert", older, "ann")
    newer = request(who, after=62)
    assert (await service.send(newer)).alert_id == newer.alert_id
    await change(service, "CommentAlert", older, "ann", "this was the fan")
    assert (await story(service, older)).alert.state == alert_pb2.ALERT_STATE_CLEARED
    again = await service.send(request(who, after=63))
    assert again.alert_id == newer.alert_id


async def test_lists_are_filtered_and_paged_without_gaps(world: World) -> None:
    service, who = await world.ready(), device()
    sent = [request(who, after=n // 2, temperature=91.0 + n, metadata={}) for n in range(7)]
    for one in sent:
        await service.send(one)
    await change(service, "AcknowledgeAlert", sent[0].alert_id, "ann")
    await change(service, "ClearAlert", sent[1].alert_id, "ann")

    async def listed(**fields: Any) -> Any:
        return await call(service, "ListAlerts", alert_pb2.ListAlertsRequest(**fields))

    token, seen = "", list[str]()
    while True:
        page = await listed(device_id=who, limit=3, page_token=token)
        assert page.total_count == 7
        seen += [one.alert_id for one in page.alerts]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 7
    assert set(seen) == {one.alert_id for one in sent}
    is_open = await listed(device_id=who, state=alert_pb2.ALERT_STATE_OPEN)
    assert is_open.total_count == 6
    known = await listed(device_id=who, acknowledged=True)
    assert [one.alert_id for one in known.alerts] == [sent[0].alert_id]
    assert (await listed(device_id=who, acknowledged=False)).total_count == 6
    severe = await listed(device_id=who, min_severity=alert_pb2.ALERT_SEVERITY_MEDIUM)
    assert severe.total_count == 3
    assert (await listed(rule_id="none")).total_count == 0
    assert (await listed(region="nowhere")).total_count == 0


async def test_every_order_leads_through_all_alerts_once_and_types_choose(world: World) -> None:
    """Moments and severities come more than once: the ids decide between them."""
    service, who = await world.ready(), device()
    types = (alert_pb2.ALERT_TYPE_TEMPERATURE_HIGH, alert_pb2.ALERT_TYPE_HUMIDITY_HIGH)
    sent = [
        request(who, after=n // 3, temperature=91.0 + 3 * n, metadata={}, alert_type=types[n % 2])
        for n in range(9)
    ]
    await asyncio.gather(*(service.send(one) for one in sent))

    async def walked(**fields: Any) -> list[alert_pb2.Alert]:
        token, seen = "", list[alert_pb2.Alert]()
        while True:
            asked = alert_pb2.ListAlertsRequest(device_id=who, limit=2, page_token=token, **fields)
            page = await call(service, "ListAlerts", asked)
            seen += page.alerts
            if not (token := page.next_page_token):
                return seen

    keys: dict[str, Callable[[Any], Any]] = {
        "NEWEST": lambda one: (-one.first_at.ToMilliseconds(), one.alert_id),
        "OLDEST": lambda one: (one.first_at.ToMilliseconds(), one.alert_id),
        "SEVERITY": lambda one: (-one.severity, -one.first_at.ToMilliseconds(), one.alert_id),
    }
    for name, key in keys.items():
        found = await walked(order=alert_pb2.AlertOrder.Value(f"ALERT_ORDER_{name}"))
        assert {one.alert_id for one in found} == {one.alert_id for one in sent}, name
        assert found == sorted(found, key=key), name
    assert len({one.severity for one in found}) > 1
    assert await walked() == await walked(order=alert_pb2.ALERT_ORDER_NEWEST)
    wet = await walked(alert_types=[types[1]])
    assert {one.alert_id for one in wet} == {one.alert_id for one in sent[1::2]}
    assert len(await walked(alert_types=types)) == len(sent)


async def test_a_page_token_belongs_to_its_filters_and_its_order(world: World) -> None:
    service, who = await world.ready(), device()
    for n in range(3):
        await service.send(request(who, after=n, metadata={}))
    asked: dict[str, Any] = {"device_id": who, "limit": 1}
    first = await call(service, "ListAlerts", alert_pb2.ListAlertsRequest(**asked))
    token = first.next_page_token
    longer = alert_pb2.ListAlertsRequest(device_id=who, limit=2, page_token=token)
    assert len((await call(service, "ListAlerts", longer)).alerts) == 2
    for other in (
        {"device_id": device()},
        {"order": alert_pb2.ALERT_ORDER_OLDEST},
        {"state": alert_pb2.ALERT_STATE_OPEN},
        {"page_token": token[:-4]},
        {"page_token": token + "AAAA"},
        {"page_token": ("B" if token[0] == "A" else "A") + token[1:]},
    ):
        wrong = alert_pb2.ListAlertsRequest(**(asked | {"page_token": token} | other))
        code = await refused(call(service, "ListAlerts", wrong))
        assert code is grpc.StatusCode.INVALID_ARGUMENT, other


@pytest.mark.parametrize(
    ("method", "message", "code"),
    [
        ("GetAlert", alert_pb2.GetAlertRequest(alert_id="none"), "NOT_FOUND"),
        ("ClearAlert", alert_pb2.ChangeAlertRequest(alert_id="none", user="ann"), "NOT_FOUND"),
        ("ClearAlert", alert_pb2.ChangeAlertRequest(alert_id="none"), "INVALID_ARGUMENT"),
        ("ClearAlert", alert_pb2.ChangeAlertRequest(user="ann"), "INVALID_ARGUMENT"),
        (
            "CommentAlert",
            alert_pb2.ChangeAlertRequest(alert_id="a", user="ann", note=" "),
            "INVALID_ARGUMENT",
        ),
        (
            "AcknowledgeAlert",
            alert_pb2.ChangeAlertRequest(alert_id="a", user="a\r\nb"),
            "INVALID_ARGUMENT",
        ),
        ("ListAlerts", alert_pb2.ListAlertsRequest(page_token="§"), "INVALID_ARGUMENT"),
        ("ListAlerts", alert_pb2.ListAlertsRequest(page_token="AAAA"), "INVALID_ARGUMENT"),
        ("ListAlerts", alert_pb2.ListAlertsRequest(limit=1001), "INVALID_ARGUMENT"),
        (
            "ListAlerts",
            alert_pb2.ListAlertsRequest(alert_types=[alert_pb2.ALERT_TYPE_UNSPECIFIED]),
            "INVALID_ARGUMENT",
        ),
        (
            "CommentAlert",
            alert_pb2.ChangeAlertRequest(alert_id="a", user="ann", note="a\x1b[2J"),
            "INVALID_ARGUMENT",
        ),
    ],
)
async def test_what_cannot_be_done_has_the_right_status(
    world: World, method: str, message: Any, code: str
) -> None:
    service = await world.ready()
    assert await refused(call(service, method, message)) is grpc.StatusCode[code]


async def test_without_the_service_token_nobody_changes_an_alert(world: World) -> None:
    stub = (await world.start()).stub
    asked = alert_pb2.ChangeAlertRequest(alert_id="a", user="ann", note="x")
    for method in ("AcknowledgeAlert", "ClearAlert", "CommentAlert"):
        code = await refused(getattr(stub, method)(asked))
        assert code is grpc.StatusCode.UNAUTHENTICATED
