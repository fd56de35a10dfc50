"""The real alert service in a process of its own, and alerts in it."""

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sensor_local.alert_service import alert_service
from sensor_local.testing import Address, ClickHouseServer
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.grpc import AlertChannel, AlertTargetSettings
from sensor_shared.testing import rest
from twinup.alert.v1 import alert_pb2

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
"""When the first readings were measured."""


@dataclass(frozen=True)
class Service:
    """Where it listens, and its sections REDIS and CLICKHOUSE."""

    section: dict[str, Any]
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def alerts_service(
    redis_server: Address,
    clickhouse_server: ClickHouseServer,
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
) -> Iterator[Service]:
    """One for a module. Tests empty the Redis that it shares with them, which it is made for."""
    sections: dict[str, dict[str, Any]] = {
        "redis": {"port": redis_server.port, "db": rest.database_of(worker_id)},
        "clickhouse": {
            "port": clickhouse_server.port,
            "user": clickhouse_server.user,
            "password": clickhouse_server.password,
            "database": clickhouse_server.database(),
        },
    }
    with alert_service(sections, tmp_path_factory.mktemp("alerts")) as section:
        yield Service(section, sections)


@dataclass
class Breaches:
    """Reports breaches as the consumer does."""

    channel: AlertChannel

    async def report(self, device_id: str, *, after: float = 0.0, **fields: Any) -> str:
        """Reports one, measured `after` seconds from the beginning; returns the alert's id."""
        values: dict[str, Any] = {
            "alert_id": uuid.uuid4().hex,
            "device_id": device_id,
            "alert_type": alert_pb2.ALERT_TYPE_TEMPERATURE_HIGH,
            "message": f"{device_id}: temperature 96 °C breaks the limit of 90 °C",
            "temperature": 96.0,
            "threshold": 90.0,
            "timestamp": BEGAN + timedelta(seconds=after),
            "metadata": {"rule": "temperature-high", "metric": "temperature"},
            "location": alert_pb2.Location(latitude=40.5, longitude=27.25, region="west"),
        }
        request = alert_pb2.AlertRequest(**values | fields)
        answer = await self.channel.call(self.channel.alerts.SendAlert, request)
        assert answer.success
        return str(answer.alert_id)


@pytest.fixture
async def breaches(alerts_service: Service) -> AsyncIterator[Breaches]:
    channel = AlertChannel(
        AlertTargetSettings.model_validate({**alerts_service.section, "timeout": 10})
    )
    yield Breaches(channel)
    await channel.close()


@pytest.fixture
async def facts(alerts_service: Service) -> AsyncIterator[Database]:
    """Straight to the alert service's database."""
    database = Database(ClickHouseSettings.model_validate(alerts_service.sections["clickhouse"]))
    yield database
    await database.close()


def device() -> str:
    """Returns a device that no other test has."""
    return f"industrial_sensor_{uuid.uuid4().hex[:12]}"
