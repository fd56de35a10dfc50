-- One row per device and moment, whatever the number of deliveries: rows of the same key are
-- one reading, and merges (or FINAL, with which every answer reads) leave only one of them.
-- Decimals hold what sensors send, exactly; daily parts leave as a whole when they expire.
CREATE TABLE IF NOT EXISTS readings
(
    device_id   String CODEC(ZSTD(1)),
    timestamp   DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    temperature Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT '°C',
    humidity    Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT '% relative',
    pressure    Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT 'hPa',
    status      Enum8('active' = 0, 'error' = 1, 'maintenance' = 2)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (device_id, timestamp)
TTL toDateTime(timestamp) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

-- What does not change with every reading is kept once per device.
CREATE TABLE IF NOT EXISTS devices
(
    device_id   String,
    device_type LowCardinality(String),
    region      LowCardinality(String) COMMENT 'empty: not told',
    latitude    Nullable(Float64),
    longitude   Nullable(Float64),
    updated_at  DateTime64(3, 'UTC') COMMENT 'the reading''s own time'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY device_id
SETTINGS non_replicated_deduplication_window = 1000;

-- What broke a rule of the contract, as it came. The key makes a second delivery no second row.
CREATE TABLE IF NOT EXISTS rejects
(
    received_at DateTime64(3, 'UTC'),
    source      String,
    event_id    String,
    position    UInt32 COMMENT 'index of the reading in its event',
    reason      LowCardinality(String),
    detail      String,
    device_id   String COMMENT 'empty: could not be read',
    raw         String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (source, event_id, position)
TTL toDateTime(received_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000;
