"""The CloudEvents endpoint: a request by event does the same as SendAlert."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from sensor_alerts import requests
from sensor_shared.contracts import alerts
from sensor_shared.contracts.alerts import AlertRequested
from sensor_shared.contracts.events import ALERT_REQUESTED_V1, READINGS_V1

from .alert_world import World, device, eventually, request

pytestmark = pytest.mark.integration


def headers(type_: str) -> dict[str, str]:
    return {
        "ce-specversion": "1.0",
        "ce-id": uuid.uuid4().hex,
        "ce-source": "/tests",
        "ce-type": type_,
        "content-type": "application/json",
    }


def wanted(device_id: str, **fields: Any) -> AlertRequested:
    """Returns what the gRPC request of the same fields asks for."""
    return requests.requested(request(device_id, **fields), datetime.now(UTC))


def body(asked: AlertRequested) -> bytes:
    return alerts.encode(asked, "/tests").data


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_request_by_event_is_recorded_as_one_by_grpc_is(world: World) -> None:
    service, by_event, by_grpc = await world.ready(), device(), device()
    moment = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    fields: dict[str, Any] = {"timestamp": moment, "temperature": 104.5, "message": "hot"}
    assert await service.post(headers(ALERT_REQUESTED_V1), body(wanted(by_event, **fields))) == 202
    await service.send(request(by_grpc, **fields))
    rows = await world.rows(
        "SELECT rule_id, alert_type, severity, message, metric, value, threshold, latitude, "
        "longitude, region, timestamp, metadata FROM alerts FINAL"
    )
    assert len(rows) == 2
    assert rows[0] == rows[1]


async def test_the_same_breach_by_both_ways_is_one_alert(world: World) -> None:
    service, who = await world.ready(), device()
    sent = request(who)
    await service.send(sent)
    asked = requests.requested(sent, datetime.now(UTC))
    for _ in range(2):
        assert await service.post(headers(ALERT_REQUESTED_V1), body(asked)) == 202
    assert (await service.history(device_id=who)).total_count == 1


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        (ALERT_REQUESTED_V1, b"{"),
        (ALERT_REQUESTED_V1, b'{"alert_id":"a"}'),
        (ALERT_REQUESTED_V1, b""),
        (READINGS_V1, b"{}"),
    ],
    ids=["no JSON", "fields missing", "nothing", "another type"],
)
async def test_what_can_never_be_taken_goes_to_the_dead_letters(
    world: World, type_: str, data: bytes
) -> None:
    service = await world.start()
    assert await service.post(headers(type_), data) == 400


async def test_a_request_from_the_far_future_goes_to_the_dead_letters(world: World) -> None:
    service = await world.start()
    far = wanted(device(), timestamp=datetime(2100, 1, 1, tzinfo=UTC))
    assert await service.post(headers(ALERT_REQUESTED_V1), body(far)) == 400


async def test_with_clickhouse_away_events_are_to_come_again(world: World) -> None:
    away = world.settings.clickhouse.model_copy(update={"port": 9})
    service = await world.start(clickhouse=away)
    assert await service.post(headers(ALERT_REQUESTED_V1), body(wanted(device()))) == 503


async def test_the_sweep_writes_the_count_and_the_last_value_not_more_often_than_it_may(
    world: World,
) -> None:
    hourly = world.settings.pace.model_copy(update={"update": 3600.0})
    # A mail would be noted in the record, and the count with it.
    silent = world.settings.smtp.model_copy(update={"recipients": ()})
    service, who = await world.ready(pace=hourly, smtp=silent), device()
    for n in range(4):
        await service.send(request(who, after=n, temperature=96.0 + n / 10))
    asked = "SELECT count, value FROM alerts FINAL"
    await service.sweep()
    assert await world.rows(asked) == [(1, 96.0)]
    other = await world.ready(smtp=silent)
    await other.sweep()
    assert await world.rows(asked) == [(4, 96.3)]


async def test_a_stop_sends_what_waits(world: World) -> None:
    smtp = world.settings.smtp.model_copy(update={"collect": 3600.0})
    service = await world.ready(smtp=smtp)
    await service.send(request(device()))
    await service.function.stop()
    assert await world.rows("SELECT email_sent FROM alerts FINAL") == [(True,)]
    assert len(await world.mails.all()) == 1


async def test_metrics_count_every_step(world: World) -> None:
    service, who = await world.ready(), device()
    names = {
        "received": ("sensor_alerts_received_total", {"way": "grpc"}),
        "raised": (
            "sensor_alerts_raised_total",
            {"type": "TEMPERATURE_HIGH", "severity": "MEDIUM"},
        ),
        "joined": ("sensor_alerts_suppressed_total", {"reason": "joined"}),
        "repeated": ("sensor_alerts_suppressed_total", {"reason": "repeated"}),
        "cooldown": ("sensor_alerts_suppressed_total", {"reason": "cooldown"}),
        "notified": ("sensor_alerts_notified_total", {"channel": "email"}),
    }
    before = {key: counted(name, **labels) for key, (name, labels) in names.items()}
    first = request(who)
    for sent in (first, first, request(who, after=1), request(who, after=2, temperature=150.0)):
        await service.send(sent)

    async def told() -> bool:
        return counted(names["notified"][0], channel="email") > before["notified"]

    await eventually(told)
    steps = {key: counted(name, **labels) - before[key] for key, (name, labels) in names.items()}
    assert steps == {
        "received": 4,
        "raised": 1,
        "joined": 2,
        "repeated": 1,
        "cooldown": 1,
        "notified": 1,
    }
