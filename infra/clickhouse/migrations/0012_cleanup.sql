-- Merged parts are removed every few seconds. By the default of half a minute a thousand and more come
-- together, and removing them keeps a core busy for half a second
-- (docs/decisions/0008-storage-of-readings.md).
ALTER TABLE readings
    MODIFY SETTING cleanup_delay_period = 5, cleanup_delay_period_random_add = 1;
