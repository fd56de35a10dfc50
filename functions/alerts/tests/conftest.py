from .alert_world import clickhouse, lone_redis, world

__all__ = ["clickhouse", "lone_redis", "world"]
