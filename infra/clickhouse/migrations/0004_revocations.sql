-- Sessions that were ended before their time. Tokens live for a day at most, so after two days
-- a revocation has nothing left to revoke.
CREATE TABLE IF NOT EXISTS revocations
(
    session    String,
    username   String,
    reason     LowCardinality(String) COMMENT 'logout, reuse, limit, disabled',
    revoked_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY session
TTL toDateTime(revoked_at) + INTERVAL 2 DAY
SETTINGS non_replicated_deduplication_window = 1000;
