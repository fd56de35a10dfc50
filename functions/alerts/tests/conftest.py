from .alert_world import changes_topic, clickhouse, lone_redis, world

__all__ = ["changes_topic", "clickhouse", "lone_redis", "world"]
