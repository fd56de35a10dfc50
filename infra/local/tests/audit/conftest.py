"""One flow by hand for each test, on the real engine and the real Kafka."""

import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from sensor_local.testing import ClickHouseServer
from sensor_local.topics import Topic, create
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.contracts.events import DEAD_LETTERS

from .flow import Flow


@pytest.fixture
async def flow(
    tmp_path: Path, clickhouse_server: ClickHouseServer, kafka_broker: str
) -> AsyncIterator[Flow]:
    name = f"audit-{uuid.uuid4().hex}"
    create(kafka_broker, [Topic(topic, 1, 1, 64, 1024) for topic in (name, DEAD_LETTERS)])
    clickhouse = ClickHouseSettings(
        host=clickhouse_server.host,
        port=clickhouse_server.port,
        user=clickhouse_server.user,
        password=SecretStr(clickhouse_server.password),
        database=clickhouse_server.database(),
    )
    client = await connect(clickhouse)
    # Copies stay as they are until they are looked at.
    await client.command("SYSTEM STOP MERGES readings")
    yield Flow(
        folder=tmp_path / "ledger",
        client=client,
        clickhouse=clickhouse,
        kafka=KafkaSettings(brokers=kafka_broker, topic=name, group=name),
        start_ms=(int(time.time()) // 60 - 10) * 60_000,  # recent: old readings are let go
    )
    await client.close()
