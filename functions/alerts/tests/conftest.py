from .alert_world import clickhouse, world

__all__ = ["clickhouse", "world"]
