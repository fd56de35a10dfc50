"""Silences by REST, from the real alert service."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from .alert_world import Breaches, Service, device

pytestmark = pytest.mark.integration
SILENCES = "/api/v1/silences"


@pytest.fixture
def alert_section(alerts_service: Service) -> dict[str, Any]:
    return {**alerts_service.section, "timeout": 10}


def later(**length: float) -> str:
    return (datetime.now(UTC) + timedelta(**length)).isoformat(timespec="milliseconds")


async def made(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    body = {"scope": {"devices": [device()]}, "minutes": 60, "reason": "repair", **changes}
    answer = await client.post(SILENCES, json={k: v for k, v in body.items() if v is not None})
    assert answer.status_code == 201, answer.text
    silence: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{SILENCES}/{silence['silence_id']}"
    return silence


def mistakes(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [one["location"] for one in answer.json().get("errors") or []]


async def test_a_silence_is_made_shown_changed_and_ended_in_its_callers_name(
    operator: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    scope = {
        "devices": ["industrial_*"],
        "device_types": ["industrial_sensor"],
        "alert_types": ["TEMPERATURE_HIGH"],
        "regions": ["west"],
        "rules": ["temperature-high"],
        "severities": ["LOW", "MEDIUM"],
    }
    silence = await made(operator, scope=scope)
    assert (silence["author"], silence["reason"], silence["active"]) == ("user", "repair", True)
    assert silence["scope"] == scope
    ends, starts = (datetime.fromisoformat(silence[name]) for name in ("ends_at", "starts_at"))
    assert abs(ends - starts - timedelta(hours=1)) < timedelta(seconds=30)
    where = f"{SILENCES}/{silence['silence_id']}"
    assert (await http.get(where)).json() == silence
    until = later(hours=5)
    changed = await operator.patch(where, json={"ends_at": until, "reason": "longer"})
    assert changed.status_code == 200, changed.text
    assert changed.json()["scope"] == scope
    assert changed.json()["reason"] == "longer"
    assert datetime.fromisoformat(changed.json()["ends_at"]) == datetime.fromisoformat(until)
    assert (await http.post(f"{where}/end")).status_code == 403
    ended = (await operator.post(f"{where}/end")).json()
    assert (ended["ended_by"], ended["active"]) == ("user", False)
    assert (await operator.post(f"{where}/end")).json() == ended
    assert (await http.get(where)).json() == ended
    late = await operator.patch(where, json={"reason": "more"})
    assert late.status_code == 409
    assert late.json()["detail"] == "the silence is over; make a new one"


async def test_a_maintenance_window_comes_back(operator: httpx.AsyncClient) -> None:
    again = {"cron": "0 22 * * SAT", "zone": "Europe/Istanbul", "minutes": 240}
    silence = await made(operator, minutes=None, ends_at=later(days=90), recurrence=again)
    assert silence["recurrence"] == again


async def test_silences_are_listed_page_by_page_each_once(
    operator: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    ids = [(await made(operator, minutes=100_000 + n // 2))["silence_id"] for n in range(5)]
    await operator.post(f"{SILENCES}/{ids[0]}/end")

    async def walked(**query: Any) -> list[str]:
        seen, cursor = list[str](), ""
        while True:
            asked = {"limit": 2, **query} | ({"cursor": cursor} if cursor else {})
            page = (await http.get(SILENCES, params=asked)).json()
            seen += [one["silence_id"] for one in page["items"]]
            if not (cursor := page["next"]):
                assert len(seen) == len(set(seen))
                return seen

    assert set(ids[1:]) <= set(await walked())
    assert ids[0] not in await walked()
    assert set(ids) <= set(await walked(ended=True))
    cursor = (await http.get(SILENCES, params={"limit": 1})).json()["next"]
    other = await http.get(SILENCES, params={"cursor": cursor, "ended": True})
    assert mistakes(other) == ["query.cursor"]


async def test_a_page_is_no_longer_than_what_the_largest_silences_fit_into(
    http: httpx.AsyncClient,
) -> None:
    assert (await http.get(SILENCES, params={"limit": 100})).status_code == 200
    assert mistakes(await http.get(SILENCES, params={"limit": 101})) == ["query.limit"]


async def test_an_alert_is_silenced_with_one_call(
    operator: httpx.AsyncClient, breaches: Breaches
) -> None:
    who = device()
    ruled = await breaches.report(who)
    free = await breaches.report(who, after=1, metadata={})
    for alert, scope in (
        (ruled, {"rules": ["temperature-high"]}),
        (free, {"alert_types": ["TEMPERATURE_HIGH"]}),
    ):
        url = f"/api/v1/alerts/{alert}/silence"
        answer = await operator.post(url, json={"minutes": 5, "reason": "known"})
        assert answer.status_code == 201, answer.text
        silence = (await operator.get(answer.headers["location"])).json()
        given = {name: value for name, value in silence["scope"].items() if value}
        assert given == {"devices": [who], **scope}
        assert (silence["author"], silence["active"]) == ("user", True)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"minutes": None}, "body"),
        ({"ends_at": "2099-01-01T00:00:00Z"}, "body"),
        ({"minutes": None, "ends_at": "2099-01-01T00:00:00Z"}, "body"),
        ({"minutes": None, "ends_at": "2001-01-01T00:00:00Z"}, "body"),
        ({"minutes": None, "ends_at": 1_800_000_000}, "body.ends_at"),
        ({"minutes": None, "ends_at": "1800000000000"}, "body.ends_at"),
        ({"minutes": None, "ends_at": "0001-01-01T00:00:00+23:59"}, "body.ends_at"),
        ({"minutes": 0}, "body.minutes"),
        ({"minutes": 10**30}, "body.minutes"),
        ({"reason": " "}, "body.reason"),
        ({"reason": "\x1b[2J"}, "body.reason"),
        ({"scope": {"device": ["a"]}}, "body.scope.device"),
        ({"scope": {"devices": ["a\nb"]}}, "body.scope.devices.0"),
        ({"scope": {"severities": ["BAD"]}}, "body.scope.severities.0"),
        ({"recurrence": {"cron": "61 * * * *", "minutes": 1}}, "body.recurrence"),
        (
            {"recurrence": {"cron": "0 2 * * *", "zone": "../etc", "minutes": 1}},
            "body.recurrence.zone",
        ),
        ({"author": "eve"}, "body.author"),
        ({"scope": {}}, "body"),
        ({"scope": {"regions": []}, "everything": False}, "body"),
    ],
)
async def test_what_no_silence_can_be_is_said_where_it_stands(
    operator: httpx.AsyncClient, body: dict[str, Any], where: str
) -> None:
    whole = {"scope": {"regions": ["west"]}, "minutes": 60, "reason": "repair", **body}
    answer = await operator.post(
        SILENCES, json={name: value for name, value in whole.items() if value is not None}
    )
    assert mistakes(answer)[0].startswith(where)


async def test_all_alerts_are_silenced_only_by_saying_so(operator: httpx.AsyncClient) -> None:
    said = {"scope": {}, "everything": True, "minutes": 1, "reason": "the hall is rebuilt"}
    answer = await operator.post(SILENCES, json=said)
    assert answer.status_code == 201, answer.text
    assert not any(answer.json()["scope"].values())
    narrow = await made(operator)
    changed = await operator.patch(f"{SILENCES}/{narrow['silence_id']}", json={"scope": {}})
    assert mistakes(changed)


async def test_a_change_of_nothing_and_of_an_unknown_silence_are_refused(
    operator: httpx.AsyncClient,
) -> None:
    silence = await made(operator)
    where = f"{SILENCES}/{silence['silence_id']}"
    assert mistakes(await operator.patch(where, json={})) == ["body"]
    for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/end")):
        answer = await operator.request(method, f"{SILENCES}/none{path}", json={"reason": "a"})
        assert answer.status_code == 404, method
        assert answer.json()["detail"] == "no such silence"
