"""The consumer: readings from events to ClickHouse, latest values to Redis, breaches to alerts."""
