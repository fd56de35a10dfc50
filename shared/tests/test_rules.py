"""Alert rules: the file is checked, and a breach is found once per device and rule."""

from pathlib import Path

import pytest

from sensor_shared.contracts.events import Event
from sensor_shared.contracts.readings import decode
from sensor_shared.contracts.rules import RulesError, Severity, load_rules

NOW_MS = 1_795_462_338_979
ROOT = Path(__file__).parents[2]


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def test_the_defaults_are_those_of_the_original() -> None:
    rules = load_rules(ROOT / "configs" / "alert-rules.yaml").rules
    assert {rule.metric: rule.above for rule in rules} == {
        "temperature": 90,
        "humidity": 95,
        "pressure": 1050,
    }


def test_the_worst_reading_of_a_device_is_its_one_breach() -> None:
    data = (
        b'[{"device_id":"a","timestamp":1795462338000,"temperature":90},'
        b'{"device_id":"b","timestamp":1795462338000,"temperature":95.5},'
        b'{"device_id":"b","timestamp":1795462338001,"temperature":111,'
        b'"location":{"latitude":1,"longitude":2,"region":"east"}},'
        b'{"device_id":"b","timestamp":1795462338002,"temperature":100}]'
    )
    batch = decode(Event("1", "s", "t", data, None), NOW_MS).batch
    rules = load_rules(ROOT / "configs" / "alert-rules.yaml")
    (breach,) = rules.breaches(batch)
    assert (breach.device_id, breach.value, breach.timestamp_ms) == ("b", 111.0, 1795462338001)
    assert (breach.rule_id, breach.severity) == ("temperature-high", Severity.CRITICAL)
    assert (breach.latitude, breach.longitude, breach.region) == (1.0, 2.0, "east")
    assert breach.message == "b: temperature 111 °C breaks the limit of 90 °C"
    assert breach.alert_id == rules.breaches(batch)[0].alert_id


@pytest.mark.parametrize(
    ("excess", "severity"),
    [(0.1, "LOW"), (4.9, "LOW"), (5, "MEDIUM"), (10, "HIGH"), (19.9, "HIGH"), (20, "CRITICAL")],
)
def test_severity_follows_the_excess_over_the_threshold(excess: float, severity: str) -> None:
    rule = load_rules(ROOT / "configs" / "alert-rules.yaml").rules[0]
    assert rule.severity.severity(excess) == severity


def test_a_rule_below_counts_downwards(rules_file: Path) -> None:
    rules_file.write_text(
        "rules: [{id: cold, alert_type: TEMPERATURE_LOW, metric: temperature, below: -20}]"
    )
    data = b'{"device_id":"a","timestamp":1795462338000,"temperature":-31}'
    rules = load_rules(rules_file)
    (breach,) = rules.breaches(decode(Event("1", "s", "t", data, None), NOW_MS).batch)
    assert (breach.value, breach.threshold, breach.severity) == (-31.0, -20.0, Severity.HIGH)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "rules: Field required"),
        ("{", "rules.yaml"),
        ("rules: [{id: a, alert_type: TEMPERATURE_HIGH, metric: temperature}]", "exactly one of"),
        ("rules: [{id: a, alert_type: X, metric: temperature, above: 1}]", "rules.0.alert_type"),
        ("rules: [{id: a, alert_type: TEMPERATURE_HIGH, metric: light, above: 1}]", "metric"),
        (
            "rules: [&r {id: a, alert_type: TEMPERATURE_HIGH, metric: temperature, above: 1}, *r]",
            "used twice: a",
        ),
        (
            (
                "rules: [{id: a, alert_type: TEMPERATURE_HIGH, metric: temperature, above: 1,"
                " severity: {high: 1}}]"
            ),
            "medium <= high <= critical",
        ),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_the_mistake(
    rules_file: Path, text: str, said: str
) -> None:
    rules_file.write_text(text)
    with pytest.raises(RulesError) as caught:
        load_rules(rules_file)
    assert said in str(caught.value)
    assert "rules.yaml" in str(caught.value)
