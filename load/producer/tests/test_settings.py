"""Configuration: the documented file, the original's variables, mistakes."""

from pathlib import Path

import pytest
import yaml

from sensor_producer.settings import Form, ProducerConfig
from sensor_shared.runtime.settings import SettingsError

CONFIG = Path(__file__).parents[3] / "configs" / "producer-config.yaml"


def test_the_file_says_the_defaults() -> None:
    assert ProducerConfig.load({}, CONFIG) == ProducerConfig()


def test_the_file_mentions_every_setting_of_the_producers_own_sections() -> None:
    text = CONFIG.read_text(encoding="utf-8")
    for section in ("producer", "faults"):
        for key in ProducerConfig.model_fields[section].default.__class__.model_fields:
            assert f"  {key}: " in text or f"  # {key}: " in text, key


def test_commented_settings_are_valid_too(tmp_path: Path) -> None:
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    file = tmp_path / "config.yaml"
    keys = ("duration", "max_readings", "ledger_dir", "spool_dir")
    file.write_text(
        "\n".join(
            line.replace("# ", "", 1)
            if line.strip().startswith(tuple(f"# {k}:" for k in keys))
            else line
            for line in lines
        ),
        encoding="utf-8",
    )
    assert set(keys) <= yaml.safe_load(file.read_text(encoding="utf-8"))["producer"].keys()
    settings = ProducerConfig.load({}, file).producer
    assert settings.duration == 60
    assert settings.ledger_dir == Path(".run/ledger")
    assert settings.spool_dir == Path(".run/spool")


def test_the_originals_variables_work() -> None:
    config = ProducerConfig.load(
        {
            "TWINUP_PRODUCER_DEVICE_COUNT": "50",
            "TWINUP_PRODUCER_BATCH_SIZE": "10",
            "TWINUP_PRODUCER_PRODUCE_INTERVAL": "500ms",
            "TWINUP_KAFKA_BROKERS": "kafka.example.com:9092",
            "TWINUP_KAFKA_TOPIC": "readings",
            "TWINUP_LOGGER_LEVEL": "debug",
            "TWINUP_LOGGER_FORMAT": "console",
        },
        CONFIG,
    )
    assert config.producer.device_count == 50
    assert config.producer.batch_size == 10
    assert config.producer.produce_interval == 0.5
    assert config.kafka.brokers == "kafka.example.com:9092"
    assert config.kafka.topic == "readings"
    assert (config.logger.level, config.logger.format) == ("debug", "console")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1.5", 1.5), ("0.25s", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    config = ProducerConfig.load({"TWINUP_PRODUCER_PRODUCE_INTERVAL": text})
    assert config.producer.produce_interval == seconds


@pytest.mark.parametrize("form", list(Form))
def test_every_form_can_be_set(form: Form) -> None:
    assert ProducerConfig.load({"TWINUP_PRODUCER_FORMAT": form}).producer.format is form


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        ProducerConfig.load(
            {
                "TWINUP_PRODUCER_DEVICE_COUNT": "0",
                "TWINUP_PRODUCER_PRODUCE_INTERVAL": "1 fortnight",
                "TWINUP_FAULTS_SILENT": "1.5",
            }
        )
    for name in ("DEVICE_COUNT", "PRODUCE_INTERVAL", "FAULTS_SILENT"):
        assert name in str(caught.value)
    assert "500ms" in str(caught.value)
