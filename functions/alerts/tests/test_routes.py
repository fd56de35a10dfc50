"""Who is told of what: the routes file is checked, and every target is told once."""

from pathlib import Path

import pytest

from sensor_alerts.domain.notification import ChannelName, News, news_of, notification_id
from sensor_alerts.notify.routes import Routes, RoutesError, Target, load_routes
from sensor_shared.contracts.alert_changes import ChangeKind
from sensor_shared.contracts.rules import Severity

from .alert_world import ROOT
from .notify_world import change


def routes(*given: dict[str, object], endpoints: tuple[str, ...] = ()) -> Routes:
    named = [{"name": name, "url": f"https://{name}.example.com"} for name in endpoints]
    numbered = [{"name": f"r{n}"} | route for n, route in enumerate(given)]
    return Routes.model_validate({"endpoints": named, "routes": numbered})


def test_every_route_in_whose_scope_an_alert_is_is_taken_and_a_target_is_told_once() -> None:
    found = routes(
        {"email": ["one@example.com", "two@example.com"]},
        {"email": ["two@example.com"], "webhooks": ["ops"], "scope": {"regions": ["west"]}},
        {"email": ["three@example.com"], "scope": {"regions": ["east"]}},
        endpoints=("ops",),
    ).targets(change().alert, News.RAISED)
    assert found == {
        Target(ChannelName.EMAIL, "one@example.com"): True,
        Target(ChannelName.EMAIL, "two@example.com"): True,
        Target(ChannelName.WEBHOOK, "ops"): True,
    }


def test_news_that_no_route_to_a_target_wants_is_known_to_concern_it_all_the_same() -> None:
    """So that the record of a target says when an alert was cleared, told or not."""
    given = routes(
        {"email": ["one@example.com", "two@example.com"], "news": ["raised"]},
        {"email": ["two@example.com"], "news": ["cleared"]},
    )
    assert given.targets(change().alert, News.CLEARED) == {
        Target(ChannelName.EMAIL, "one@example.com"): False,
        Target(ChannelName.EMAIL, "two@example.com"): True,
    }


def test_topics_are_those_of_device_and_region_and_a_name_is_one_level() -> None:
    mqtt = routes({"mqtt": True})
    alert = change(device_id="region:a/b #+", region="a/b #+").alert
    assert [target.address for target in mqtt.targets(alert, News.RAISED)] == [
        "alerts/device/region:a%2Fb%20%23%2B",
        "alerts/region/a%2Fb%20%23%2B",
    ]
    assert [target.address for target in mqtt.targets(change(region="").alert, News.RAISED)] == [
        "alerts/device/industrial_sensor_000007"
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("routes: [{name: a, email: [nobody]}]", "routes.0.email"),
        ("routes: [{name: a, email: ['a@example.com\\nBcc: b@example.com']}]", "routes.0.email"),
        ('routes: [{name: a, email: ["a@example.com\\r\\nX: y"]}]', "routes.0.email"),
        ("routes: [{name: a, webhooks: [ops]}]", "no endpoint ops"),
        ("routes: [{name: a}]", "needs email, webhooks or mqtt"),
        ("routes: [{name: a, mqtt: true}, {name: a, mqtt: true}]", "routes named twice: a"),
        ("routes: [{name: a, mqtt: true, news: [louder]}]", "routes.0.news.0"),
        ("routes: [{name: a, mqtt: true, news: []}]", "routes.0.news"),
        ("routes: [{name: a, mqtt: true, scope: {region: west}}]", "routes.0.scope.region"),
        ("endpoints: [{name: ops, url: 'http://hooks.example.com'}]", "plain_http"),
        ("endpoints: [{name: ops, url: 'file:///etc/passwd', plain_http: true}]", "https://"),
        ("endpoints: [{name: ops, url: 'https://me:word@hooks.example.com'}]", "neither user"),
        ("endpoints: [{name: ops, url: 'https://'}]", "must name a host"),
        ("routes: {", "routes.yaml"),
    ],
)
def test_what_is_wrong_with_a_routes_file_is_said(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RoutesError) as caught:
        load_routes(file)
    assert named in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(RoutesError, match="nowhere"):
        load_routes(tmp_path / "nowhere.yaml")


def test_by_the_routes_of_the_repository_every_change_goes_by_mqtt() -> None:
    found = load_routes(ROOT / "configs" / "alert-routes.yaml").targets(change().alert, News.RAISED)
    assert {target.channel for target in found} == {ChannelName.MQTT}


@pytest.mark.parametrize(
    ("kind", "before", "news"),
    [
        (ChangeKind.RAISED, None, News.RAISED),
        (ChangeKind.REOPENED, Severity.LOW, News.REOPENED),
        (ChangeKind.ACKNOWLEDGED, Severity.MEDIUM, News.ACKNOWLEDGED),
        (ChangeKind.CLEARED, Severity.MEDIUM, News.CLEARED),
        (ChangeKind.COMMENTED, Severity.MEDIUM, None),
        (ChangeKind.UPDATED, Severity.LOW, News.ESCALATED),
        (ChangeKind.UPDATED, Severity.MEDIUM, None),
        (ChangeKind.UPDATED, Severity.CRITICAL, None),
    ],
)
def test_people_are_told_of_what_calls_for_them_and_of_what_became_of_it(
    kind: ChangeKind, before: Severity | None, news: News | None
) -> None:
    assert news_of(change(kind, before=before)) is news


def test_the_same_target_and_change_give_the_same_id_and_others_another() -> None:
    ids = {
        notification_id(change_id, channel, target)
        for change_id in ("a", "b")
        for channel in ChannelName
        for target in ("x", "y")
    }
    assert len(ids) == 12
    assert notification_id("a", ChannelName.EMAIL, "x") in ids
    assert all(len(id_) == 32 for id_ in ids)
