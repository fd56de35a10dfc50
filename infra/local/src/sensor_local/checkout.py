"""Where things are in this checkout; the local system runs from it, not from an installation."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
CONFIGS = ROOT / "configs"
EVENTING = ROOT / "eventing"
FUNCTIONS = ROOT / "functions"
MIGRATIONS = ROOT / "infra" / "clickhouse" / "migrations"
TOPICS_FILE = ROOT / "infra" / "local" / "topics.yaml"
KAFKA_LOCK = ROOT / "infra" / "local" / "kafka.lock"
KAFKA_JARS = Path(sys.prefix) / "share" / "kafka"
"""Beside the packages that pip installed: set-up fills it, `make clean` leaves it alone."""
