"""Configuration: what wins, and that every mistake is named."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.runtime.settings import Section, Settings, SettingsError, config_file


class Store(Section):
    host: str = "localhost"
    batch_size: int = 10
    password: SecretStr = SecretStr("")
    key_file: Path | None = None


class Example(Settings):
    store: Store = Store()
    clickhouse: ClickHouseSettings = ClickHouseSettings()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example-config.yaml"
    path.write_text("store:\n  host: from-file\n  batch_size: 20\n")
    return path


def test_environment_wins_over_file_over_default(file: Path) -> None:
    assert Example.load({}).store.batch_size == 10
    assert Example.load({}, file).store.host == "from-file"
    settings = Example.load({"TWINUP_STORE_BATCH_SIZE": "30"}, file)
    assert (settings.store.host, settings.store.batch_size) == ("from-file", 30)


def test_all_mistakes_are_reported_together_and_secrets_are_not_shown(file: Path) -> None:
    file.write_text("store: {batch_size: many}\nstorr: {}\n")
    environ = {
        "TWINUP_STORE_HOSTS": "x",
        "TWINUP_STORE_PASSWORD": "",
        "TWINUP_CLICKHOUSE_PASSWORD_X": "swordfish",
    }
    with pytest.raises(SettingsError) as caught:
        Example.load(environ, file)
    message = str(caught.value)
    assert "unknown section 'storr'" in message
    assert "TWINUP_STORE_BATCH_SIZE" in message
    assert "many" in message
    assert "TWINUP_STORE_HOSTS" in message
    assert "TWINUP_CLICKHOUSE_PASSWORD_X" in message
    assert "swordfish" not in message


def test_a_secret_is_masked_when_the_settings_are_printed() -> None:
    settings = Example.load({"TWINUP_STORE_PASSWORD": "swordfish"})
    assert settings.store.password.get_secret_value() == "swordfish"
    assert "swordfish" not in repr(settings)


def test_a_secret_can_be_kept_in_a_file_that_a_variable_names(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("sword fish\n")
    settings = Example.load({"TWINUP_STORE_PASSWORD_FILE": str(secret)})
    assert settings.store.password.get_secret_value() == "sword fish"
    own = Example.load({"TWINUP_STORE_KEY_FILE": str(secret)}).store.key_file
    assert own == secret, "a key of the section's own that ends so names the file itself"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "TWINUP_STORE_PASSWORD_FILE: [Errno 2] No such file"),
        ({"TWINUP_STORE_PASSWORD": "x"}, "TWINUP_STORE_PASSWORD_FILE: TWINUP_STORE_PASSWORD is"),
        ({"TWINUP_STORE_PASSWORDS_FILE": "x"}, "TWINUP_STORE_PASSWORDS_FILE: Extra inputs"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, environ: dict[str, str], message: str
) -> None:
    missing = {"TWINUP_STORE_PASSWORD_FILE": str(tmp_path / "missing")}
    with pytest.raises(SettingsError) as caught:
        Example.load(missing | environ)
    assert message in str(caught.value)


def test_variables_of_other_processes_are_left_to_them() -> None:
    assert Example.load({"TWINUP_PRODUCER_DEVICE_COUNT": "5", "HOME": "/"}) == Example()


@pytest.mark.parametrize("text", ["- a list", "store: 5", "{", "store: [1]"])
def test_a_file_of_another_shape_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"example-config\.yaml"):
        Example.load({}, file)


def test_the_config_file_of_a_service_is_found_by_its_name(file: Path) -> None:
    environ = {"TWINUP_CONFIG_DIR": str(file.parent)}
    assert config_file(environ, "example") == file
    assert config_file(environ, "other") is None


@pytest.mark.parametrize(
    ("environ", "http_port"),
    [
        ({"TWINUP_CLICKHOUSE_PORT": "9000"}, "8123"),
        ({"TWINUP_CLICKHOUSE_HOST": "clickhouse:9000"}, "8123"),
        ({"TWINUP_CLICKHOUSE_PORT": "9440"}, "8443"),
    ],
)
def test_the_native_port_is_answered_with_the_name_of_the_http_port(
    environ: dict[str, str], http_port: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Example.load(environ)
    assert "native protocol" in str(caught.value)
    assert f"TWINUP_CLICKHOUSE_PORT={http_port}" in str(caught.value)
