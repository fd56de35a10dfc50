-- Readings per device and minute, hour and day (UTC), for questions about long stretches. Missing
-- values are left out of a metric's count, sum, min, max, average and last; rejects never get here.
-- Read them with FINAL, as the raw rows:
--   SELECT time, temperature_avg, temperature_min, temperature_max
--   FROM readings_hour FINAL WHERE device_id = 'weather-00001' AND time >= now() - INTERVAL 7 DAY
-- Several rows may be joined exactly: add the counts and sums, and divide at the end.
-- A row is always made anew from all that it summarises, never added to. Its version is the
-- server's time before that was read, so the row that wins has seen the most
-- (docs/decisions/0007-rollups-are-made-anew.md).
CREATE TABLE IF NOT EXISTS readings_minute
(
    device_id         String CODEC(ZSTD(1)),
    time              DateTime('UTC') CODEC(Delta(4), ZSTD(1)) COMMENT 'where the minute, hour or day begins',
    readings          UInt32 CODEC(ZSTD(1)),
    temperature_count UInt32 CODEC(ZSTD(1)),
    temperature_sum   Decimal(18, 3) CODEC(T64, ZSTD(1)),
    temperature_min   Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT '°C',
    temperature_max   Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT '°C',
    temperature_last  Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT '°C, by the readings'' own time',
    temperature_avg   Nullable(Float64) ALIAS toFloat64(temperature_sum) / nullIf(temperature_count, 0),
    humidity_count    UInt32 CODEC(ZSTD(1)),
    humidity_sum      Decimal(18, 3) CODEC(T64, ZSTD(1)),
    humidity_min      Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT '% relative',
    humidity_max      Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT '% relative',
    humidity_last     Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT '% relative, by the readings'' own time',
    humidity_avg      Nullable(Float64) ALIAS toFloat64(humidity_sum) / nullIf(humidity_count, 0),
    pressure_count    UInt32 CODEC(ZSTD(1)),
    pressure_sum      Decimal(18, 3) CODEC(T64, ZSTD(1)),
    pressure_min      Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT 'hPa',
    pressure_max      Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT 'hPa',
    pressure_last     Nullable(Decimal(9, 3)) CODEC(T64, ZSTD(1)) COMMENT 'hPa, by the readings'' own time',
    pressure_avg      Nullable(Float64) ALIAS toFloat64(pressure_sum) / nullIf(pressure_count, 0),
    version           DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'the highest is what holds'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (device_id, time)
TTL time + INTERVAL 1 YEAR
SETTINGS ttl_only_drop_parts = 1;

-- The same columns, from the minutes.
CREATE TABLE IF NOT EXISTS readings_hour AS readings_minute
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYear(time)
ORDER BY (device_id, time)
TTL time + INTERVAL 5 YEAR
SETTINGS ttl_only_drop_parts = 1;

-- The same columns, from the hours; kept for ever.
CREATE TABLE IF NOT EXISTS readings_day AS readings_minute
ENGINE = ReplacingMergeTree(version)
ORDER BY (device_id, time);

-- Minutes that got readings after their time: to be made anew once, then done. A mark is written
-- when the readings are stored and before their event is answered, so that none is ever missing.
CREATE TABLE IF NOT EXISTS rollup_marks
(
    minute    DateTime('UTC'),
    id        UUID DEFAULT generateUUIDv4(),
    marked_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when, by the server''s clock',
    done      UInt8 DEFAULT 0
)
ENGINE = ReplacingMergeTree(done)
ORDER BY (minute, id)
TTL minute + INTERVAL 91 DAY,
    toDateTime(marked_at) + INTERVAL 1 DAY DELETE WHERE done = 1;

-- Runs that brought the rollups of the newest minutes up to date. What passed between two of them
-- is marked by the later one; when none is known, that is all there is.
CREATE TABLE IF NOT EXISTS rollup_runs
(
    begun_at    DateTime64(3, 'UTC'),
    finished_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY begun_at
TTL toDateTime(begun_at) + INTERVAL 7 DAY;
