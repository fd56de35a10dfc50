"""What the alert service is told, and what it refuses to be told."""

import os

import pytest

from sensor_alerts.app import new
from sensor_shared.runtime.settings import SettingsError

from .alert_world import ROOT


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "TWINUP_GRPC"),
        ({"TWINUP_GRPC_TOKEN": "short"}, "TWINUP_GRPC_TOKEN"),
        ({"TWINUP_GRPC_TOKEN": "x" * 16, "TWINUP_SMTP_RECIPIENTS": "nobody"}, "RECIPIENTS"),
        ({"TWINUP_GRPC_TOKEN": "x" * 16, "TWINUP_SMTP_USERNAME": "me"}, "TWINUP_SMTP"),
        ({"TWINUP_GRPC_TOKEN": "x" * 16, "TWINUP_PACE_COOLDOWN": "-1"}, "PACE_COOLDOWN"),
    ],
)
def test_it_does_not_start_with_a_configuration_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], named: str
) -> None:
    for variable in [name for name in os.environ if name.startswith("TWINUP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("TWINUP_CONFIG_DIR", str(ROOT / "configs"))
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=named) as caught:
        new()
    assert "short" not in str(caught.value)


def test_the_configuration_of_the_repository_is_valid_and_hides_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWINUP_CONFIG_DIR", str(ROOT / "configs"))
    monkeypatch.setenv("TWINUP_GRPC_TOKEN", "a token for this test")
    monkeypatch.setenv("TWINUP_SMTP_RECIPIENTS", "one@example.com, two@example.com")
    function = new()
    assert function.server.port == 8083
    assert function._settings.smtp.recipients == ("one@example.com", "two@example.com")
    assert "a token for this test" not in repr(function._settings)
    assert not function.ready()
