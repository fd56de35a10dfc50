-- API keys of machines: facts, like users; Redis only caches them. The key itself is nowhere: it is
-- shown once, and its hash is kept. A key is forgotten 90 days after it has expired.
CREATE TABLE IF NOT EXISTS api_keys
(
    id         String,
    digest     String COMMENT 'SHA-256 of the whole key, hexadecimal',
    owner      String COMMENT 'user name',
    name       String COMMENT 'what the owner calls it',
    scopes     Array(LowCardinality(String)) COMMENT 'actions of the permission table',
    created_at DateTime64(3, 'UTC'),
    expires_at DateTime64(3, 'UTC'),
    revoked_at Nullable(DateTime64(3, 'UTC')),
    revoked_by String,
    version    UInt64 COMMENT '1; 2 once it is revoked'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
TTL toDateTime(expires_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000;
