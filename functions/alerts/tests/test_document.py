"""What docs/alerts.md shows is read by the code: examples, defaults, names."""

import re
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from sensor_alerts.settings import PaceSettings
from sensor_shared.contracts.alert_changes import ChangeKind
from sensor_shared.contracts.rules import AlertRule, Rules, SilenceGroups, SilenceRule

from .alert_world import ROOT, RULES

TEXT = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
EXAMPLES: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_a_file_of_rules(example: dict[str, Any]) -> None:
    rules = Rules.model_validate(example)
    assert rules.rules or rules.silence


def test_the_examples_do_what_is_said_of_them() -> None:
    ovens = Rules.model_validate(EXAMPLES[0])
    high, oven, spare = ovens.rules
    assert [ovens.applies(high, one, None) for one in ("pump", "oven-1", "oven-spare-1")] == [
        True,
        False,
        False,
    ]
    assert ovens.applies(oven, "oven-1", None)
    assert not ovens.applies(oven, "oven-spare-1", None)
    assert not ovens.applies(spare, "oven-spare-1", None)
    assert (high.for_, high.clear_for, high.clear_threshold) == (30, 10, 85)
    wet = Rules.model_validate(EXAMPLES[1])
    assert [wet.applies(rule, "a", "west") for rule in wet.rules] == [True, True]
    assert [wet.applies(rule, "a", "east") for rule in wet.rules] == [False, True]
    slow = Rules.model_validate(EXAMPLES[3])
    found = slow.silence_rule("weather_station_000001", None)
    assert found is not None
    assert found.limit_ms == 3 * 3_600_000


def test_the_reference_names_every_key_of_a_rule() -> None:
    table = TEXT[TEXT.index("| key | meaning") : TEXT.index("Durations are")]
    named = set(re.findall(r"`([a-z_]+)`", table))
    keys = {field.alias or name for name, field in AlertRule.model_fields.items()}
    assert keys <= named


def test_every_kind_of_change_is_explained() -> None:
    table = TEXT[TEXT.index("| change | when") : TEXT.index("Each change is")]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == {
        kind.value for kind in ChangeKind
    }


def test_every_metric_that_is_named_exists() -> None:
    known = {family.name for family in REGISTRY.collect()}
    named = set(re.findall(r"`(sensor_(?:alerts|rules|devices)_\w+)`", TEXT))
    assert {name.removesuffix("_total") for name in named} <= known
    assert len(named) > 10


def test_the_defaults_are_those_of_the_original() -> None:
    thresholds = {rule.metric: rule.above for rule in RULES.rules}
    assert thresholds == {"temperature": 90, "humidity": 95, "pressure": 1050}
    assert all(rule.at_once and rule.scope.everything for rule in RULES.rules)
    pace = PaceSettings()
    assert (pace.deduplication, pace.cooldown) == (300, 60)
    assert (pace.per_device_and_hour, pace.per_minute) == (10, 100)
    assert RULES.silence == (SilenceRule(),)
    assert RULES.silence_groups == SilenceGroups()
