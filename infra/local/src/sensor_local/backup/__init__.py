"""Backup and restore of ClickHouse's database, by ClickHouse's own BACKUP and RESTORE.

Both run in the server, which writes and reads the files; the embedded one and a real one take the
same statements. ClickHouse is the only part whose loss loses facts: see docs/operations.
"""
