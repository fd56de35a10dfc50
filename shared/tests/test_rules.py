"""Alert rules: the file is checked, and a breach is found once per device and rule."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from sensor_shared.adapters.rules_file import RulesFile
from sensor_shared.contracts.events import Event
from sensor_shared.contracts.readings import SCHEMA, decode
from sensor_shared.contracts.rules import Rules, RulesError, Severity, load_rules

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
    assert rule.severity_of(90 + excess) == severity


def test_a_rule_below_counts_downwards(rules_file: Path) -> None:
    rules_file.write_text(
        "rules: [{id: cold, alert_type: TEMPERATURE_LOW, metric: temperature, below: -20}]"
    )
    data = b'{"device_id":"a","timestamp":1795462338000,"temperature":-31}'
    rules = load_rules(rules_file)
    (breach,) = rules.breaches(decode(Event("1", "s", "t", data, None), NOW_MS).batch)
    assert (breach.value, breach.threshold, breach.severity) == (-31.0, -20.0, Severity.HIGH)


def rules_of(*rules: dict[str, Any], **more: Any) -> Rules:
    base = {"alert_type": "TEMPERATURE_HIGH", "metric": "temperature"}
    return Rules.model_validate({"rules": [base | rule for rule in rules], **more})


def hot(*devices: str, region: str | None = None, value: float = 100.0) -> Any:
    place = f',"location":{{"latitude":1,"longitude":2,"region":"{region}"}}' if region else ""
    items = (
        f'{{"device_id":"{id_}","timestamp":1795462338000,"temperature":{value}{place}}}'
        for id_ in devices
    )
    return decode(Event("1", "s", "t", f"[{','.join(items)}]".encode(), None), NOW_MS).batch


SCOPES = [
    {"id": "all", "above": 10},
    {"id": "region", "above": 20, "scope": {"region": "west"}},
    {"id": "type", "above": 30, "scope": {"device_type": "industrial_sensor"}},
    {"id": "both", "above": 40, "scope": {"device_type": "industrial_sensor", "region": "west"}},
    {"id": "pattern", "above": 50, "scope": {"device": "boiler_*"}},
    {"id": "longer", "above": 60, "scope": {"device": "boiler_00000?"}},
    {"id": "device", "above": 70, "scope": {"device": "boiler_000001"}},
]


@pytest.mark.parametrize(
    ("device_id", "region", "rule_id"),
    [
        ("pump_000001", None, "all"),
        ("pump_000001", "east", "all"),
        ("pump_000001", "west", "region"),
        ("boiler-7", "west", "region"),
        ("boiler_000001", "west", "device"),
        ("boiler_000002", "west", "longer"),
        ("boiler_000020", "east", "pattern"),
    ],
)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned round"])
def test_the_most_special_rule_is_the_one_that_holds(
    device_id: str, region: str | None, rule_id: str, turned: bool
) -> None:
    rules = rules_of(*(SCOPES[::-1] if turned else SCOPES))
    found = rules.breaches(hot(device_id, region=region))
    assert [breach.rule_id for breach in found] == [rule_id]


def test_type_and_region_together_are_more_special_than_either() -> None:
    rules = rules_of(*SCOPES[:4])
    for kind, region, expected in (
        ("industrial_sensor_000001", "west", "both"),
        ("industrial_sensor_000001", "east", "type"),
    ):
        (breach,) = rules.breaches(hot(kind, region=region))
        assert breach.rule_id == expected


def test_a_special_rule_with_a_higher_limit_keeps_the_general_one_silent() -> None:
    rules = rules_of(
        {"id": "all", "above": 90}, {"id": "oven", "above": 300, "scope": {"device": "oven*"}}
    )
    assert [one.device_id for one in rules.breaches(hot("oven1", "pump1"))] == ["pump1"]
    assert [one.rule_id for one in rules.breaches(hot("oven1", value=310.0))] == ["oven"]


def test_a_special_rule_can_turn_alerts_off() -> None:
    rules = rules_of(
        {"id": "all", "above": 90},
        {"id": "oven", "above": 90, "enabled": False, "scope": {"device": "oven*"}},
    )
    assert [one.device_id for one in rules.breaches(hot("oven1", "pump1"))] == ["pump1"]


def test_rules_about_different_things_hold_side_by_side() -> None:
    rules = rules_of(
        {"id": "high", "above": 90},
        {"id": "very-high", "above": 95, "about": "danger", "severity": "CRITICAL"},
        {"id": "low", "alert_type": "TEMPERATURE_LOW", "below": 0},
        {"id": "warming", "rising": 10},
    )
    found = rules.breaches(hot("pump1"))
    assert [(one.rule_id, one.severity) for one in found] == [
        ("high", Severity.HIGH),
        ("very-high", Severity.CRITICAL),
    ]


def test_missing_values_hide_no_breach_and_are_none() -> None:
    rules = rules_of({"id": "high", "above": 90}, {"id": "low", "below": -90, "about": "cold"})
    data = b"""[{"device_id":"a","timestamp":1795462338000,"humidity":1},
      {"device_id":"b","timestamp":1795462338000,"temperature":95}]"""
    batch = decode(Event("1", "s", "t", data, None), NOW_MS).batch
    assert [one.device_id for one in rules.breaches(batch)] == ["b"]
    assert rules.breaches(batch.slice(0, 1)) == []
    assert [one.device_id for one in rules.breaches(batch.slice(1, 1))] == ["b"]


def degrees() -> st.SearchStrategy[float]:
    """As sensors send them: between smaller ones a limit of 60 cannot tell."""
    return st.floats(-50, 150).map(lambda value: round(value, 3))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), degrees() | st.none()), max_size=40),
    degrees(),
)
def test_breaches_are_those_that_a_plain_loop_finds(
    readings: list[tuple[str, float | None]], threshold: float
) -> None:
    rules = rules_of({"id": "high", "above": threshold}, {"id": "low", "below": threshold - 60})
    rows = [
        {
            "device_id": id_,
            "timestamp": datetime(2026, 11, 23, tzinfo=UTC),
            "temperature": value,
            "status": "active",
        }
        for id_, value in readings
    ]
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    wanted: dict[tuple[str, str], float] = {}
    for id_, value in readings:
        if value is None:
            continue
        if value > threshold:
            wanted[id_, "high"] = max(value, wanted.get((id_, "high"), value))
        if value < threshold - 60:
            wanted[id_, "low"] = min(value, wanted.get((id_, "low"), value))
    found = {(one.device_id, one.rule_id): one.value for one in rules.breaches(batch)}
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1.5h", 5_400), ("250ms", 0.25), (7, 7)]
)
def test_durations_are_written_with_their_unit(text: str | int, seconds: float) -> None:
    (rule,) = rules_of({"id": "a", "above": 1, "for": text}).rules
    assert rule.for_ == seconds


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"above": 1, "below": 0}, "exactly one of"),
        ({"above": 1, "rising": 2}, "exactly one of"),
        ({"above": 90, "clear": 91}, "good side"),
        ({"below": -10, "clear": -11}, "good side"),
        ({"rising": 5, "for": "5s"}, "do not go with 'rising'"),
        ({"missing": "5m", "severity": {"high": 1, "medium": 1, "critical": 1}}, "no excess"),
        ({"above": 1, "for": "soon"}, "30s or 5m"),
        ({"above": 1, "scope": {"device": "a b"}}, "rules.0.scope.device"),
        ({"above": 1, "scope": {"colour": "red"}}, "rules.0.scope.colour"),
        ({"above": 1, "scope": {"device_type": "oven"}}, "must be one of temperature_sensor"),
        ({"above": 1, "times": 0}, "rules.0.times"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_place(
    rules_file: Path, rule: dict[str, Any], said: str
) -> None:
    base = {"id": "a", "alert_type": "TEMPERATURE_HIGH", "metric": "temperature"}
    rules_file.write_text(yaml.safe_dump({"rules": [base | rule]}))
    with pytest.raises(RulesError, match=r"rules\.yaml") as caught:
        load_rules(rules_file)
    assert said in str(caught.value)


def test_two_rules_about_the_same_thing_with_the_same_scope_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="'a' and 'b' are about the same thing"):
        rules_of({"id": "a", "above": 90}, {"id": "b", "above": 95})


def test_silence_has_scopes_too() -> None:
    rules = rules_of(
        silence=[
            {"id": "offline", "every": "1s", "intervals": 60},
            {
                "id": "slow",
                "every": "1h",
                "intervals": 3,
                "scope": {"device_type": "industrial_sensor"},
            },
            {"id": "store", "enabled": False, "scope": {"device": "spare-*"}},
        ]
    )
    limits = [
        one and one.limit_ms
        for one in (
            rules.silence_rule("pump_000001", None),
            rules.silence_rule("industrial_sensor_000001", "west"),
            rules.silence_rule("spare-1", None),
        )
    ]
    assert limits == [60_000, 10_800_000, None]


class TestFile:
    """The file of a running process."""

    TEXT = "rules: [{{id: a, alert_type: TEMPERATURE_HIGH, metric: temperature, above: {}}}]"

    def above(self, file: RulesFile) -> float | None:
        return file.current.rules[0].above

    def test_a_change_is_read_and_a_mistake_keeps_what_was(self, rules_file: Path) -> None:
        rules_file.write_text(self.TEXT.format(90))
        file = RulesFile(rules_file)
        assert not file.reload()
        rules_file.write_text(self.TEXT.format(95.5))
        assert file.reload()
        assert self.above(file) == 95.5
        rules_file.write_text("rules: [{id: broken}]")
        assert not file.reload()
        assert self.above(file) == 95.5
        assert "rules.yaml" in (file.trouble or "")
        assert REGISTRY.get_sample_value("sensor_rules_refused") == 1
        assert not file.reload(), "the same mistake is said once"
        rules_file.unlink()
        assert not file.reload()
        assert self.above(file) == 95.5
        rules_file.write_text(self.TEXT.format(70))
        assert file.reload()
        assert (self.above(file), file.trouble) == (70, None)
        assert REGISTRY.get_sample_value("sensor_rules_refused") == 0

    def test_a_config_map_is_exchanged_by_a_link(self, tmp_path: Path) -> None:
        """As the kubelet does it: a link to a folder is replaced, the file's own link stays."""
        for version, limit in (("one", 80), ("two", 85)):
            (tmp_path / version).mkdir()
            (tmp_path / version / "rules.yaml").write_text(self.TEXT.format(limit))
        (tmp_path / "..data").symlink_to("one")
        (tmp_path / "rules.yaml").symlink_to("..data/rules.yaml")
        file = RulesFile(tmp_path / "rules.yaml")
        (tmp_path / "..new").symlink_to("two")
        (tmp_path / "..new").rename(tmp_path / "..data")
        assert file.reload()
        assert self.above(file) == 85

    def test_a_process_does_not_start_with_a_file_that_cannot_be_used(
        self, rules_file: Path
    ) -> None:
        with pytest.raises(RulesError, match=r"rules\.yaml"):
            RulesFile(rules_file)


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
