-- The life of alerts. What was recorded before is history: it counts as cleared.
ALTER TABLE alerts
    ADD COLUMN IF NOT EXISTS state Enum8('open' = 1, 'cleared' = 2, 'pending' = 3, 'dropped' = 4) DEFAULT 'cleared'
        COMMENT 'pending: must hold for longer before it is an alert; dropped: it did not',
    ADD COLUMN IF NOT EXISTS device_type LowCardinality(String),
    ADD COLUMN IF NOT EXISTS acknowledged_by String COMMENT 'empty: nobody',
    ADD COLUMN IF NOT EXISTS acknowledged_at Nullable(DateTime64(3, 'UTC')),
    ADD COLUMN IF NOT EXISTS cleared_by String COMMENT 'system: by itself',
    ADD COLUMN IF NOT EXISTS cleared_at Nullable(DateTime64(3, 'UTC')),
    ADD COLUMN IF NOT EXISTS last_at DateTime64(3, 'UTC') DEFAULT timestamp COMMENT 'when its last breach was measured',
    ADD COLUMN IF NOT EXISTS count UInt32 DEFAULT 1 COMMENT 'of breaches',
    ADD COLUMN IF NOT EXISTS members UInt32 COMMENT 'devices of a group alert; 0: it is about one',
    ADD COLUMN IF NOT EXISTS updated_at DateTime64(3, 'UTC') DEFAULT processed_at;

-- An alert that is still open is written again before it expires.
ALTER TABLE alerts MODIFY TTL toDateTime(updated_at) + INTERVAL 30 DAY;

ALTER TABLE alerts ADD INDEX IF NOT EXISTS by_id alert_id TYPE bloom_filter GRANULARITY 1;

-- Every change of every alert, in the order of its versions: the facts that `alerts` is made of.
-- A row is written once, and once more when its event is published.
CREATE TABLE IF NOT EXISTS alert_changes
(
    device_id String,
    alert_id  String,
    version   UInt64 COMMENT 'of the alert after the change',
    change_id String,
    kind      LowCardinality(String) COMMENT 'raised, updated, acknowledged, cleared, reopened, commented',
    at        DateTime64(3, 'UTC') COMMENT 'when it was decided',
    by        String COMMENT 'the user, or system',
    note      String,
    severity  Enum8('LOW' = 1, 'MEDIUM' = 2, 'HIGH' = 3, 'CRITICAL' = 4),
    data      String CODEC(ZSTD(3)) COMMENT 'the event''s data, com.twinup.alert.changed.v1',
    published UInt8
)
ENGINE = ReplacingMergeTree(published)
PARTITION BY toMonday(at)
ORDER BY (device_id, alert_id, version)
TTL toDateTime(at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000;
