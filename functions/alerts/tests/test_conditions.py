"""What stored readings say about open and pending alerts, without any I/O."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_alerts.domain.conditions import (
    CALM_MS,
    KEEP,
    of_missing,
    of_open,
    of_pending,
    of_rate,
)
from sensor_shared.contracts.rules import AlertRule, Severity

BASE = {"id": "r", "alert_type": "TEMPERATURE_HIGH", "metric": "temperature"}


def made(**fields: Any) -> AlertRule:
    return AlertRule.model_validate(BASE | ({"above": 90} | fields))


def series(*values: float, every_ms: int = 1_000) -> list[tuple[int, float]]:
    return [(number * every_ms, value) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((91, 92, 93), "raise"),
        ((91, 92), "keep"),
        ((91, 92, 89), "drop"),
        ((91, 89, 92, 91), "keep"),
        ((91, 92, 93, 80, 80), "raise"),
        ((), "keep"),
    ],
    ids=["three", "two", "two and over", "broken", "three and over", "nothing"],
)
def test_three_in_a_row(values: Sequence[float], kind: str) -> None:
    assert of_pending(made(times=3), series(*values)).kind == kind


def test_for_a_time_counts_by_the_readings_own_time() -> None:
    rule = made(**{"for": "5s"})
    assert of_pending(rule, series(*[95] * 5)) == KEEP
    verdict = of_pending(rule, series(*[95] * 5, 111))
    assert (verdict.kind, verdict.value, verdict.severity) == ("raise", 111, Severity.CRITICAL)
    assert verdict.at_ms == 5_000
    assert of_pending(rule, series(95, 95, every_ms=5_000)).kind == "raise"


def test_between_clear_and_threshold_nothing_changes() -> None:
    rule = made(clear=85)
    assert of_open(rule, series(95, 88, 86), 0, Severity.LOW) == KEEP
    verdict = of_open(rule, series(95, 88, 85), 0, Severity.LOW)
    assert (verdict.kind, verdict.at_ms, verdict.value) == ("clear", 2_000, 85)


def test_a_newer_breach_is_not_cleared_by_an_older_good_reading() -> None:
    """Whatever order they came in: the series is in the order of the readings' own time."""
    assert of_open(made(), series(95, 20, 95), 0, Severity.LOW) == KEEP
    assert of_open(made(), series(20, 20, 95), 2_000, Severity.LOW) == KEEP
    assert of_open(made(), series(95, 20), 5_000, Severity.LOW) == KEEP


def test_clearing_may_ask_for_more_than_one_reading() -> None:
    assert of_open(made(clear_times=3), series(95, 20, 20), 0, Severity.LOW) == KEEP
    assert of_open(made(clear_times=3), series(95, 20, 20, 20), 0, Severity.LOW).kind == "clear"
    assert of_open(made(clear_for="3s"), series(95, 20, 20, 20), 0, Severity.LOW) == KEEP
    assert of_open(made(clear_for="3s"), series(95, *[20] * 4), 0, Severity.LOW).kind == "clear"


def test_an_alert_is_eased_when_no_reading_of_the_last_minute_was_as_bad() -> None:
    minute = CALM_MS // 1_000
    bad = series(111, *[96] * (minute - 1))
    assert of_open(made(), bad, 0, Severity.CRITICAL) == KEEP
    calm = series(111, *[96] * minute)
    verdict = of_open(made(), calm, 0, Severity.CRITICAL)
    assert (verdict.kind, verdict.severity) == ("ease", Severity.MEDIUM)
    assert of_open(made(), calm, 0, Severity.MEDIUM) == KEEP


def test_a_rule_below_is_the_same_upside_down() -> None:
    rule = made(above=None, below=-20, clear=-15)
    assert of_open(rule, series(-30, -16), 0, Severity.LOW) == KEEP
    assert of_open(rule, series(-30, -15), 0, Severity.LOW).kind == "clear"


def test_a_rate_is_over_when_the_last_window_is_calm() -> None:
    rule = made(above=None, rising=10, window="60s")
    steep = [(0, 20.0), (30_000, 30.0), (60_000, 40.0)]
    assert of_rate(rule, steep, 0) == KEEP
    flat = [*steep, (90_000, 40.0), (120_000, 40.0)]
    assert of_rate(rule, flat, 60_000).kind == "clear"
    falling = made(above=None, falling=10, window="60s")
    assert of_rate(falling, [(0, 40.0), (60_000, 20.0)], 0) == KEEP
    assert of_rate(falling, [(0, 40.0), (60_000, 39.0)], 0).kind == "clear"


def test_missing_values_are_over_with_the_first_value() -> None:
    assert of_missing(series(20, 21), 5_000) == KEEP
    assert of_missing(series(20, 21), 500).kind == "clear"


@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.sampled_from([80.0, 88.0, 95.0])),
        unique_by=lambda x: x[0],
    ),
    st.integers(1, 4),
    st.integers(0, 30),
    st.integers(0, 500),
)
def test_what_clears_are_the_newest_readings_and_all_of_them_are_good(
    readings: list[tuple[int, float]], times: int, seconds: int, last: int
) -> None:
    """Against the plain words of the rule, tried on every suffix of the readings."""
    rule = made(clear=85, clear_times=times, clear_for=float(seconds))
    ordered = [(second * 1_000, value) for second, value in sorted(readings)]
    verdict = of_open(rule, ordered, last * 1_000, Severity.LOW)
    newer = [one for one in ordered if one[0] > last * 1_000]
    suffixes = (newer[start:] for start in range(len(newer)))
    wanted = any(
        all(value <= 85 for _, value in suffix)
        and len(suffix) >= times
        and suffix[-1][0] - suffix[0][0] >= seconds * 1_000
        for suffix in suffixes
    )
    assert (verdict.kind == "clear") is wanted
