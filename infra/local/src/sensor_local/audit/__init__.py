"""The audit: what Kafka acknowledged to the producer, compared with what ClickHouse holds."""

from sensor_local.audit.result import Audit, UnknownError

__all__ = ["Audit", "UnknownError"]
