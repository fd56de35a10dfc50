-- Users are facts; Redis only caches them.
CREATE TABLE IF NOT EXISTS users
(
    username      String,
    password_hash String COMMENT 'argon2id, in its PHC string',
    role          LowCardinality(String),
    email         String,
    disabled      Bool,
    created_at    DateTime64(3, 'UTC'),
    version       UInt64 COMMENT 'the highest is what holds'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY username
SETTINGS non_replicated_deduplication_window = 1000;
