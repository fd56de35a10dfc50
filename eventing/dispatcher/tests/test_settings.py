"""What the dispatcher is told from outside."""

from pathlib import Path

import pytest
import yaml

from sensor_dispatcher.settings import DispatcherProcess, require_sinks
from sensor_shared.runtime.settings import SettingsError

CONFIG = Path(__file__).parents[3] / "configs" / "dispatcher-config.yaml"


def test_sinks_are_given_as_a_mapping_in_one_variable() -> None:
    settings = DispatcherProcess.load(
        {"TWINUP_DISPATCHER_SINKS": "consumer=http://127.0.0.1:8084, a-b=https://example.com/x?y=1"}
    )
    assert settings.dispatcher.sinks == {
        "consumer": "http://127.0.0.1:8084",
        "a-b": "https://example.com/x?y=1",
    }


@pytest.mark.parametrize(
    "value", ["consumer", "consumer=127.0.0.1:8084", "consumer=ftp://x", "a=http://user:pw@x"]
)
def test_a_sink_that_is_no_address_is_a_mistake_of_its_variable(value: str) -> None:
    with pytest.raises(SettingsError, match="TWINUP_DISPATCHER_SINKS"):
        DispatcherProcess.load({"TWINUP_DISPATCHER_SINKS": value})


def test_a_service_without_an_address_is_named() -> None:
    settings = DispatcherProcess.load({"TWINUP_DISPATCHER_SINKS": "a=http://127.0.0.1:1"})
    require_sinks(settings.dispatcher, frozenset({"a"}))
    with pytest.raises(SettingsError, match="Services b, c"):
        require_sinks(settings.dispatcher, frozenset({"a", "b", "c"}))


def test_the_configuration_file_has_every_key_with_its_default() -> None:
    settings = DispatcherProcess.load({}, CONFIG)
    assert settings.dispatcher.sinks.keys() == {"consumer", "analytics", "alerts"}
    sinks = {"sinks": settings.dispatcher.sinks}
    expected = DispatcherProcess.model_validate({"dispatcher": sinks})
    assert settings == expected
    document = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    assert document["dispatcher"].keys() == type(settings.dispatcher).model_fields.keys()
