"""Analytics: windows per device in Redis, trends, sudden changes and region summaries by MQTT."""
