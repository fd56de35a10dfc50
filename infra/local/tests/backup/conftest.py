"""A database with something in each kind of table, on the embedded engine."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from pydantic import SecretStr

from sensor_local.backup.__main__ import main
from sensor_local.testing import ClickHouseServer
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect

ROWS = """
INSERT INTO readings SELECT 'device-' || toString(number % 20),
    now64(3) - INTERVAL intDiv(number, 20) HOUR, number / 7, if(number % 3 = 0, NULL, 50), NULL,
    'active' FROM numbers(2000);
INSERT INTO readings SELECT * FROM readings WHERE device_id < 'device-11';
INSERT INTO devices VALUES ('device-1', 'weather', 'north', 41.5, NULL, now64(3));
INSERT INTO rejects VALUES (now64(3), 'urn:test', 'event', 0, 'bad', '', '', '\\xff\\0{');
INSERT INTO users (username, password_hash, role, created_at, version)
    VALUES ('ada', '$argon2id$', 'admin', now64(3), 3);
INSERT INTO api_keys (id, owner, created_at, expires_at, version)
    VALUES ('key', 'ada', now64(3), now64(3) + 3600, 1);
INSERT INTO security_events (time, id, event) VALUES (now64(3), 'event', 'login.ok');
INSERT INTO revocations VALUES ('session', 'ada', 'logout', now64(3));
INSERT INTO alerts (alert_id, device_id, severity, timestamp, processed_at, metadata)
    VALUES ('a', 'device-1', 'HIGH', now64(3), now64(3), {'rule': 'heat'});
INSERT INTO alert_changes (device_id, alert_id, version, change_id, kind, at, severity, data)
    VALUES ('device-1', 'a', 1, 'c', 'raised', now64(3), 'HIGH', '{}');
INSERT INTO notifications (notification_id, severity, state, changed_at, version)
    VALUES ('n', 'HIGH', 'failed', now64(3), 1);
INSERT INTO silences (silence_id, devices, ends_at, version)
    VALUES ('s', ['device-*'], now64(3) + INTERVAL 1 HOUR, 1);
INSERT INTO readings_minute (device_id, time, readings, version)
    VALUES ('device-1', now(), 60, now64(6));
INSERT INTO rollup_marks (minute) VALUES (now());
INSERT INTO rollup_runs (begun_at) VALUES (now64(3))
"""
"""The second statement delivers some readings once more, in a part of its own."""


@dataclass
class World:
    """A filled database, and the command that works on it or on another."""

    settings: ClickHouseSettings
    client: AsyncClient

    def __call__(self, *words: str, database: str = "") -> tuple[int, str]:
        """Runs the command; returns its status and all that it says."""
        environ = {
            "TWINUP_CLICKHOUSE_HOST": self.settings.host,
            "TWINUP_CLICKHOUSE_PORT": str(self.settings.port),
            "TWINUP_CLICKHOUSE_USER": self.settings.user,
            "TWINUP_CLICKHOUSE_PASSWORD": self.settings.password.get_secret_value(),
            "TWINUP_CLICKHOUSE_DATABASE": database or self.settings.database,
        }
        said = io.StringIO()
        status = main(words, environ, said, said)
        return status, said.getvalue()


@pytest.fixture
async def world(clickhouse_server: ClickHouseServer) -> AsyncIterator[World]:
    settings = ClickHouseSettings(
        host=clickhouse_server.host,
        port=clickhouse_server.port,
        user=clickhouse_server.user,
        password=SecretStr(clickhouse_server.password),
        database=clickhouse_server.database(),
    )
    client = await connect(settings)
    for sql in ROWS.split(";"):
        await client.command(sql)
    yield World(settings, client)
    await client.close()
