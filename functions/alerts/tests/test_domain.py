"""What an alert is, without any I/O."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_alerts.domain.alert import Alert, InvalidRequestError, rank, severity_of
from sensor_shared.contracts.alerts import Place
from sensor_shared.contracts.rules import AlertType, Severity

from .alert_world import NOW, alert

WINDOW_MS = 300_000


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        (90.1, Severity.LOW),
        (94.9, Severity.LOW),
        (95.0, Severity.MEDIUM),
        (100.0, Severity.HIGH),
        (109.9, Severity.HIGH),
        (110.0, Severity.CRITICAL),
    ],
)
@pytest.mark.parametrize("rule", ["temperature-high", "a rule of somebody else's", ""])
def test_severity_follows_the_excess(value: float, severity: Severity, rule: str) -> None:
    assert alert(value=value, rule=rule).severity is severity


def test_a_value_below_a_lower_limit_exceeds_it_too() -> None:
    low = alert(alert_type=AlertType.TEMPERATURE_LOW, rule="", value=-25.0, threshold=0.0)
    assert low.severity is Severity.CRITICAL


def test_the_severity_that_the_request_names_holds() -> None:
    assert alert(value=200.0, severity=Severity.LOW).severity is Severity.LOW


def test_an_alert_without_a_value_is_low_and_says_what_it_is_about() -> None:
    offline = alert(alert_type=AlertType.DEVICE_OFFLINE, metric=None, value=None, threshold=None)
    assert offline.severity is Severity.LOW
    assert offline.message == "industrial_sensor_000007: device offline"


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": float("nan")},
        {"threshold": float("inf")},
        {"location": Place(latitude=float("nan"))},
        {"timestamp": NOW + timedelta(days=2)},
        {"timestamp": datetime(1969, 1, 1, tzinfo=UTC)},
    ],
)
def test_numbers_and_moments_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        alert(**wrong)


def test_moments_are_kept_in_utc_to_the_millisecond() -> None:
    moment = datetime.fromisoformat("2026-11-23T14:30:00.123987+05:00")
    kept = alert(timestamp=moment).timestamp
    assert kept == datetime(2026, 11, 23, 9, 30, 0, 123_000, tzinfo=UTC)
    assert kept.tzinfo is UTC


def test_ranks_and_severities_are_the_same_order() -> None:
    assert [severity_of(rank(severity)) for severity in Severity] == list(Severity)
    assert [rank(severity) for severity in Severity] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "covered"),
    [
        ({"alert_id": "second", "timestamp": NOW + timedelta(seconds=300)}, True),
        ({"alert_id": "second", "timestamp": NOW + timedelta(seconds=301)}, False),
        ({"alert_id": "second", "timestamp": NOW - timedelta(seconds=300)}, True),
        ({"alert_id": "second", "timestamp": NOW - timedelta(seconds=301)}, False),
        ({"alert_id": "second", "rule": "humidity-high"}, False),
        ({"alert_id": "second", "device_id": "another"}, False),
        ({"alert_id": "second", "rule": ""}, False),
        ({"timestamp": NOW - timedelta(days=1)}, True),
    ],
)
def test_what_belongs_to_an_alert(changes: dict[str, object], covered: bool) -> None:
    assert alert().covers(alert(**changes), WINDOW_MS) is covered


def test_an_alert_that_goes_on_covers_what_follows_its_last_breach() -> None:
    going_on = alert().joined_by(alert(alert_id="second", timestamp=NOW + timedelta(seconds=200)))
    later = alert(alert_id="third", timestamp=NOW + timedelta(seconds=450))
    assert going_on.covers(later, WINDOW_MS)
    assert not alert().covers(later, WINDOW_MS)


breaches = st.lists(
    st.tuples(st.integers(0, 86_000), st.floats(90.5, 200.0)), min_size=1, max_size=20
)


@given(breaches)
def test_the_order_of_breaches_does_not_change_what_they_come_to(
    told: list[tuple[int, float]],
) -> None:
    """Last value and last moment by event time, the highest severity, every one counted."""
    by_second = dict(told)
    parts = [
        alert(alert_id=str(second), timestamp=NOW + timedelta(seconds=second), value=value)
        for second, value in by_second.items()
    ]

    def fold(ordered: list[Alert]) -> Alert:
        result = alert(value=90.1)
        for part in ordered:
            result = result.joined_by(part)
        return result

    one, other = fold(parts), fold(parts[::-1])
    assert one.count == other.count == len(parts) + 1
    assert one.version == len(parts) + 1
    assert one.severity == other.severity == max((p.severity for p in parts), key=rank)
    latest = max(parts, key=lambda part: part.timestamp_ms)
    assert one.last_ms == other.last_ms == latest.timestamp_ms
    if latest.timestamp_ms > alert().timestamp_ms:
        assert one.value == other.value == latest.value
