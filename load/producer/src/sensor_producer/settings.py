"""Everything that can be set, with its default; configs/producer-config.yaml explains each."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from sensor_producer.faults import FaultSettings
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.runtime.settings import Section, ServerSettings, Settings
from sensor_shared.telemetry.logs import LoggerSettings

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def _seconds(value: object) -> object:
    """`500ms`, `1s`, `2m`, `1h` or a plain number of seconds."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be a duration like 500ms, 1s, 2m, 1h or a number of seconds")
    return float(match[1]) * _SECONDS[match[2]]


Duration = Annotated[float, BeforeValidator(_seconds)]
"""Seconds."""


class Form(StrEnum):
    """How readings become records."""

    ARROW = "arrow"
    JSON = "json"
    SINGLE = "single"
    PLAIN = "plain"


class ProducerSettings(Section):
    """Section PRODUCER."""

    device_count: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    first_device: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    produce_interval: Annotated[Duration, Field(ge=0.001, le=86_400)] = 1.0
    batch_size: Annotated[int, Field(ge=1, le=50_000)] = 1_000
    collect: Annotated[Duration, Field(ge=0.001, le=10)] = 0.025
    format: Form = Form.ARROW
    seed: Annotated[int, Field(ge=0)] = 42
    linger: Annotated[Duration, Field(ge=0, le=0.005)] = 0.0
    queue_records: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    duration: Annotated[Duration, Field(gt=0)] | None = None
    max_readings: Annotated[int, Field(ge=1)] | None = None
    stop_timeout: Annotated[Duration, Field(gt=0)] = 10.0
    ledger_dir: Path | None = None
    ledger_hours: Annotated[int, Field(ge=1)] = 48
    spool_dir: Path | None = None
    spool_max_bytes: Annotated[int, Field(ge=1_000_000)] = 1_073_741_824
    spool_after: Annotated[Duration, Field(ge=0.05, le=60)] = 1.0
    spool_drain_rate: Annotated[int, Field(ge=1)] = 10_000


class ProducerConfig(Settings):
    """The producer's whole configuration."""

    producer: ProducerSettings = ProducerSettings()
    faults: FaultSettings = FaultSettings()
    kafka: KafkaSettings = KafkaSettings()
    server: ServerSettings = ServerSettings()
    logger: LoggerSettings = LoggerSettings()
