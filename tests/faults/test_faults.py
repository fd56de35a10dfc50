"""Whatever is killed, paused, cut or refused under load: nothing is lost and nothing is doubled."""

import pytest

from .live import LiveSystem
from .record import Record

pytestmark = [pytest.mark.faults, pytest.mark.timeout(500)]


@pytest.mark.parametrize("name", ["consumer", "redis"])
def test_a_killed_process_costs_no_reading(system: LiveSystem, record: Record, name: str) -> None:
    system.kill(name)
    seconds = system.recover()
    record.add(f"kill {name}", seconds, system.audit())
