-- The history of alerts; a later version of the same alert replaces the earlier one.
CREATE TABLE IF NOT EXISTS alerts
(
    alert_id     String COMMENT 'derived from device, rule and time',
    device_id    String,
    rule_id      LowCardinality(String),
    alert_type   LowCardinality(String),
    severity     Enum8('LOW' = 1, 'MEDIUM' = 2, 'HIGH' = 3, 'CRITICAL' = 4),
    message      String,
    metric       LowCardinality(String),
    value        Nullable(Float64) COMMENT 'null: the alert is not about a value',
    threshold    Nullable(Float64),
    latitude     Nullable(Float64),
    longitude    Nullable(Float64),
    region       LowCardinality(String),
    timestamp    DateTime64(3, 'UTC') COMMENT 'when the reading was measured',
    processed_at DateTime64(3, 'UTC'),
    email_sent   Bool,
    metadata     Map(String, String),
    version      UInt64 COMMENT 'the highest is what holds'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (device_id, timestamp, alert_id)
TTL toDateTime(timestamp) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 1000;
