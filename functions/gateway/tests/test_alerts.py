"""Alerts by REST, from the real alert service: lists, one with its story, and what people do."""

import json
import uuid
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from sensor_gateway.app import Gateway
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.events import rfc3339
from sensor_shared.testing import rest
from twinup.alert.v1 import alert_pb2

from .alert_world import BEGAN, Breaches, Service, device
from .conftest import Caller, until

pytestmark = pytest.mark.integration
ALERTS = "/api/v1/alerts"


@pytest.fixture
def alert_section(alerts_service: Service) -> dict[str, Any]:
    return {**alerts_service.section, "timeout": 10}


async def listed(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get(ALERTS, params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def walked(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """The ids of a whole list, two a page."""
    page = await listed(client, limit=2, **query)
    seen = [one["alert_id"] for one in page["items"]]
    while page["next"]:
        page = await listed(client, limit=2, cursor=page["next"], **query)
        assert page["items"]
        seen += [one["alert_id"] for one in page["items"]]
    assert page["total"] == len(seen) == len(set(seen))
    return seen


async def changed(client: httpx.AsyncClient, alert: str, what: str, **body: str) -> dict[str, Any]:
    answer = await client.post(f"{ALERTS}/{alert}/{what}", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def mistakes(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [one["location"] for one in answer.json().get("errors") or []]


async def test_filters_choose_and_every_order_leads_through_the_list_once(
    http: httpx.AsyncClient, operator: httpx.AsyncClient, breaches: Breaches
) -> None:
    who = device()
    wet = {"alert_type": alert_pb2.ALERT_TYPE_HUMIDITY_HIGH}
    made = [
        await breaches.report(
            who, after=n, temperature=91.0 + 6 * n, metadata={}, **(wet if n % 2 else {})
        )
        for n in range(5)
    ]
    await changed(operator, made[0], "acknowledge")
    await changed(operator, made[1], "clear")
    assert await walked(http, device_id=who) == made[::-1]
    assert await walked(http, device_id=who, sort="oldest") == made
    worst = await listed(http, device_id=who, sort="severity")
    assert [one["severity"] for one in worst["items"]] == [
        *("CRITICAL", "HIGH", "HIGH", "MEDIUM", "LOW")
    ]
    assert await walked(http, device_id=who, sort="severity") == made[::-1]
    for query, expected in (
        ({"type": "HUMIDITY_HIGH"}, {made[1], made[3]}),
        ({"type": ["HUMIDITY_HIGH", "TEMPERATURE_HIGH"]}, set(made)),
        ({"severity": "HIGH"}, set(made[2:])),
        ({"state": "cleared"}, {made[1]}),
        ({"state": "open"}, set(made) - {made[1]}),
        ({"acknowledged": True}, {made[0]}),
        ({"acknowledged": False}, set(made[1:])),
        ({"region": "west"}, set(made)),
        ({"region": "nowhere"}, set()),
        ({"rule_id": "temperature-high"}, set()),
        ({"from": (BEGAN + timedelta(seconds=3)).isoformat()}, set(made[3:])),
        ({"to": (BEGAN + timedelta(seconds=3)).isoformat()}, set(made[:3])),
        ({"from": BEGAN.isoformat(), "to": int(BEGAN.timestamp() * 1000) + 1}, {made[0]}),
    ):
        assert set(await walked(http, device_id=who, **query)) == expected, query


async def test_a_cursor_of_another_question_is_refused(
    http: httpx.AsyncClient, breaches: Breaches
) -> None:
    who = device()
    for n in range(2):
        await breaches.report(who, after=n, metadata={})
    cursor = (await listed(http, device_id=who, limit=1))["next"]
    for query in (
        {"device_id": device()},
        {"device_id": who, "sort": "oldest"},
        {"device_id": who, "state": "open"},
        {"device_id": who, "cursor": cursor[:-4]},
        {"device_id": who, "cursor": "AAAA"},
    ):
        answer = await http.get(ALERTS, params={"cursor": cursor, **query})
        assert mistakes(answer) == ["query.cursor"], query


async def test_what_no_filter_can_be_is_said_where_it_stands(http: httpx.AsyncClient) -> None:
    for query, where in (
        ({"severity": "BAD"}, ["query.severity"]),
        ({"state": "pending"}, ["query.state"]),
        ({"type": "UNSPECIFIED"}, ["query.type.0"]),
        ({"sort": "random"}, ["query.sort"]),
        ({"limit": "501"}, ["query.limit"]),
        ({"from": "yesterday"}, ["query.from"]),
        ({"from": "2026-09-22T00:00:00Z", "to": "2026-09-21T00:00:00Z"}, []),
    ):
        assert mistakes(await http.get(ALERTS, params=query)) == where, query


async def test_an_alert_has_its_story_and_the_names_of_those_who_wrote_it(
    operator: httpx.AsyncClient, breaches: Breaches
) -> None:
    alert = await breaches.report(device())
    note = "on my way 🚒 — כן, مرحبا, a\u0301\nand a second line\t…"
    known = await changed(operator, alert, "acknowledge", note=note)
    assert (known["acknowledged_by"], known["state"]) == ("user", "open")
    await changed(operator, alert, "comments", note="the fan is broken")
    cleared = await changed(operator, alert, "clear", note="replaced")
    assert (cleared["cleared_by"], cleared["state"]) == ("user", "cleared")
    answer = await operator.get(f"{ALERTS}/{alert}")
    story = answer.json()
    changes = story.pop("changes")
    assert story == cleared
    assert [(one["kind"], one["by"], one["note"]) for one in changes] == [
        ("raised", "system", ""),
        ("acknowledged", "user", note),
        ("commented", "user", "the fan is broken"),
        ("cleared", "user", "replaced"),
    ]
    assert [one["version"] for one in changes] == [1, 2, 3, 4]
    assert changes[0]["severity_before"] is None
    assert changes[1]["severity_before"] == story["severity"] == "MEDIUM"


async def test_an_alert_is_the_document_that_the_event_carries(
    operator: httpx.AsyncClient, breaches: Breaches, facts: Database
) -> None:
    alert = await breaches.report(device(), timestamp=BEGAN + timedelta(milliseconds=250))
    for what in ("acknowledge", "clear"):
        shown = await changed(operator, alert, what)
        rows = await facts.rows(
            "SELECT data FROM alert_changes WHERE alert_id = {alert:String} "
            "ORDER BY version DESC LIMIT 1",
            alert=alert,
        )
        told = json.loads(rows[0][0])["alert"]
        for name in told.keys() & {"acknowledged_at", "cleared_at", "first_at", "last_at"}:
            # The same moment: REST writes milliseconds, as all of the gateway does.
            told[name] = told[name] and rfc3339(datetime.fromisoformat(told[name]))
        more = {"email_sent", "processed_at", "updated_at"}
        assert {name: shown[name] for name in shown.keys() - more} == told


async def test_what_is_done_again_is_not_done_again(
    operator: httpx.AsyncClient, gateway: Gateway, caller: Caller, breaches: Breaches
) -> None:
    alert = await breaches.report(device())
    for what, note in (("acknowledge", "a"), ("comments", "b"), ("clear", "c")):
        first = await changed(operator, alert, what, note=note)
        assert await changed(operator, alert, what, note=note) == first
    async with rest.client(gateway) as other:
        other.headers["Authorization"] = f"Bearer {await caller.token('admin')}"
        assert (await changed(other, alert, "acknowledge"))["acknowledged_by"] == "user"
        assert (await changed(other, alert, "clear"))["cleared_by"] == "user"


async def test_nobody_writes_in_the_name_of_another_and_readers_do_not_write(
    operator: httpx.AsyncClient, http: httpx.AsyncClient, breaches: Breaches
) -> None:
    alert = await breaches.report(device())
    answer = await operator.post(f"{ALERTS}/{alert}/comments", json={"note": "a", "user": "eve"})
    assert mistakes(answer) == ["body.user"]
    for what in ("acknowledge", "clear", "comments", "silence"):
        refused = await http.post(f"{ALERTS}/{alert}/{what}", json={"note": "a"})
        assert refused.status_code == 403, what
    assert len((await http.get(f"{ALERTS}/{alert}")).json()["changes"]) == 1


@pytest.mark.parametrize(
    "note",
    ["", " \t\n", "a" * 1_001, "a\x00b", "\x1b[2Jgone", "a\x7fb", "\ud800", None, 1, ["a"]],
    ids=[
        *(
            "empty",
            "blank",
            "long",
            "nul",
            "escape",
            "delete",
            "surrogate",
            "null",
            "number",
            "list",
        )
    ],
)
async def test_a_comment_that_is_none_is_refused(
    operator: httpx.AsyncClient, breaches: Breaches, note: Any
) -> None:
    alert = await breaches.report(device())
    body = json.dumps({"note": note})
    headers = {"Content-Type": "application/json"}
    url = f"{ALERTS}/{alert}/comments"
    assert mistakes(await operator.post(url, content=body, headers=headers)) == ["body.note"]
    assert len((await operator.get(f"{ALERTS}/{alert}")).json()["changes"]) == 1


async def test_the_longest_note_of_the_widest_characters_comes_back(
    operator: httpx.AsyncClient, breaches: Breaches
) -> None:
    alert = await breaches.report(device())
    await changed(operator, alert, "comments", note="🚒" * 1_000)
    story = (await operator.get(f"{ALERTS}/{alert}")).json()
    assert story["changes"][-1]["note"] == "🚒" * 1_000


async def test_an_id_is_a_value_and_no_path(
    operator: httpx.AsyncClient, breaches: Breaches
) -> None:
    odd = f"{uuid.uuid4().hex} ' OR 1=1 -- é%2f"
    await breaches.report(device(), alert_id=odd)
    found = await operator.get(f"{ALERTS}/{quote(odd, safe='')}")
    assert found.json()["alert_id"] == odd
    for wrong in ("none", "..%2f..%2fhealth", "%2e%2e", "a%2fb", "' OR '1'='1", "%25", "%ff", "*"):
        for method, path in (("GET", ""), ("POST", "/acknowledge"), ("POST", "/silence")):
            body = {"minutes": 1, "reason": "a"} if path == "/silence" else {}
            answer = await operator.request(method, f"{ALERTS}/{wrong}{path}", json=body)
            assert answer.status_code in {404, 405, 422}, (wrong, path)
            assert answer.headers["content-type"] == "application/problem+json"
    assert mistakes(await operator.get(f"{ALERTS}/{'a' * 129}")) == ["path.alert_id"]
    assert mistakes(await operator.get(f"{ALERTS}/a%00b")) == ["path.alert_id"]


async def test_a_gateway_without_the_service_token_is_no_way_in(
    gateway: Gateway, operator: httpx.AsyncClient, alert_section: dict[str, Any]
) -> None:
    """What is wrong between the two services is nobody else's business."""
    await until(lambda: gateway._parts.alerts)
    calls = gateway._alerts
    await calls.stop()
    calls._settings = calls._settings.model_copy(update={"token": type(calls._settings.token)("x")})
    calls.start()
    answer = await operator.get(ALERTS)
    assert answer.status_code == 502
    assert answer.json()["detail"] == "the alert service failed"
    assert "token" not in answer.text.lower()
    await until(lambda: not gateway._parts.alerts)
