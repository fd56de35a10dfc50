-- What a sensor sends next is near what it sent last: differences pack better than the values.
ALTER TABLE readings
    MODIFY COLUMN temperature Nullable(Decimal(9, 3)) CODEC(Delta(4), ZSTD(1)),
    MODIFY COLUMN humidity Nullable(Decimal(9, 3)) CODEC(Delta(4), ZSTD(1)),
    MODIFY COLUMN pressure Nullable(Decimal(9, 3)) CODEC(Delta(4), ZSTD(1));

-- Merges of 20 parts and more at once. By the default of 5 each row of many small inserts is
-- written anew some fifty times in its first minute (docs/decisions/0008-storage-of-readings.md).
ALTER TABLE readings MODIFY SETTING merge_selector_base = 20;

-- Merged parts are removed by one thread: many of them keep the folder locked against inserts for up
-- to half a second.
ALTER TABLE readings MODIFY SETTING concurrent_part_removal_threshold = 1000000;
ALTER TABLE rejects MODIFY SETTING concurrent_part_removal_threshold = 1000000;
