"""An audit by settings: opens the connections, and says what did not answer."""

from pathlib import Path

from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException

from sensor_local.audit.compare import audit
from sensor_local.audit.elsewhere import Kafka
from sensor_local.audit.result import Audit, UnknownError
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.runtime.settings import Settings


class AuditSettings(Settings):
    """Where the audit asks."""

    clickhouse: ClickHouseSettings = ClickHouseSettings()
    kafka: KafkaSettings = KafkaSettings()


async def run_audit(
    settings: AuditSettings, ledger: Path, since_ms: int, consumer: str | None = None
) -> Audit:
    """Audits a system: see `audit`.

    Raises:
        UnknownError: when a part does not answer.
    """
    try:
        client = await connect(settings.clickhouse)
        try:
            return await audit(ledger, client, Kafka(settings.kafka, consumer), since_ms)
        finally:
            await client.close()
    except KafkaException as error:
        raise UnknownError(f"Kafka does not answer: {error}") from error
    except (ClickHouseError, OSError, TimeoutError) as error:
        raise UnknownError(f"ClickHouse does not answer: {str(error)[:300]}") from error
