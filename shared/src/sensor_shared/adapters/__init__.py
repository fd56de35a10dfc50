"""Adapters to the parts: ClickHouse, Redis, Kafka, MQTT, gRPC. One module per part."""
