-- Who was told of which change of an alert, and how that went: one row for each change, channel and
-- target, replaced by every step. What is 'queued' is still to be sent, whoever queued it; what is
-- 'failed' is a dead letter (docs/notifications.md). Read it with FINAL:
--   SELECT state, reason, count() FROM notifications FINAL
--   WHERE changed_at >= now() - INTERVAL 1 DAY GROUP BY state, reason
CREATE TABLE IF NOT EXISTS notifications
(
    notification_id String COMMENT 'derived from change, channel and target',
    change_id       String,
    alert_id        String,
    device_id       String,
    subject         LowCardinality(String) COMMENT 'rule, or type of an alert without one',
    news            LowCardinality(String) COMMENT 'raised, escalated, reopened, acknowledged, cleared',
    severity        Enum8('LOW' = 1, 'MEDIUM' = 2, 'HIGH' = 3, 'CRITICAL' = 4),
    channel         LowCardinality(String) COMMENT 'email, webhook, mqtt',
    target          String COMMENT 'address, name of an endpoint, topic',
    state           Enum8('queued' = 1, 'sent' = 2, 'failed' = 3, 'suppressed' = 4),
    reason          String COMMENT 'why it was held back, or what the last try met with',
    tries           UInt16,
    due_at          DateTime64(3, 'UTC') COMMENT 'of what is queued: not before',
    changed_at      DateTime64(3, 'UTC') COMMENT 'when the alert changed',
    alert_version   UInt64 COMMENT 'of the alert after the change',
    updated_at      DateTime64(3, 'UTC'),
    change          String CODEC(ZSTD(3)) COMMENT 'the change, as the event of it has it',
    version         UInt64 COMMENT 'the highest is what holds',
    INDEX by_alert alert_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (changed_at, notification_id)
TTL toDateTime(changed_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000;

-- Silences and maintenance windows: while one holds, nobody is told of the alerts in its scope. An
-- empty list in a scope stands for all. They are kept for a year after their end.
CREATE TABLE IF NOT EXISTS silences
(
    silence_id   String,
    devices      Array(String) COMMENT 'patterns, in which * is anything and ? one character',
    device_types Array(String),
    alert_types  Array(String),
    regions      Array(String),
    rules        Array(String),
    severities   Array(String),
    starts_at    DateTime64(3, 'UTC'),
    ends_at      DateTime64(3, 'UTC'),
    cron         String COMMENT 'when a window of a recurring one begins; empty: it holds throughout',
    zone         LowCardinality(String) COMMENT 'IANA time zone that cron is in',
    minutes      UInt32 COMMENT 'length of a window',
    author       String,
    reason       String,
    ended_by     String COMMENT 'who ended it before its time',
    created_at   DateTime64(3, 'UTC'),
    updated_at   DateTime64(3, 'UTC'),
    version      UInt64 COMMENT 'the highest is what holds'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY silence_id
TTL toDateTime(ends_at) + INTERVAL 1 YEAR
SETTINGS non_replicated_deduplication_window = 1000;
