"""The ClickHouse engine in one process behind ClickHouse's HTTP interface.

Stands in for a ClickHouse server on one machine: `clickhouse-connect`, curl and whatever else
speaks to port 8123 works unchanged. Production points the same clients at a real server.
"""
