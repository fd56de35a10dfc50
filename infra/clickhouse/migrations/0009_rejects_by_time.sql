-- Rejects are asked for by when they were received. The ids of events grow with time, so within a
-- source the rows of a granule were received one after the other.
ALTER TABLE rejects ADD INDEX IF NOT EXISTS received received_at TYPE minmax GRANULARITY 1;
ALTER TABLE rejects MATERIALIZE INDEX received;
