-- What happened that matters for security, who did it to whom, and from where: for admins to read.
-- A batch that is written once more after a lost answer has the same ids, and counts once.
CREATE TABLE IF NOT EXISTS security_events
(
    time       DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    id         String COMMENT 'UUIDv7',
    event      LowCardinality(String) COMMENT 'login.ok, login.failed, user.changed, ...',
    username   String COMMENT 'whom it is about; empty: nobody, or what was given is no user name',
    actor      String COMMENT 'who did it; empty: a stranger or the system',
    address    String COMMENT 'of the client, as the service saw it',
    session    String,
    request_id String,
    detail     String
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, id)
TTL toDateTime(time) + INTERVAL 1 YEAR
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- A deleted account leaves its name, so that nobody else ever gets it.
ALTER TABLE users ADD COLUMN IF NOT EXISTS deleted Bool DEFAULT false;
