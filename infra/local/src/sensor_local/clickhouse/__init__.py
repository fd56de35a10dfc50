"""The ClickHouse engine in one process behind ClickHouse's HTTP interface.

Stands in for a ClickHouse server on one machine: `clickhouse-connect`, curl and whatever else
speaks to port 8123 works unchanged. Production points the same clients at a real server.

Where it differs from one:

- One user, with all rights, given at the start; no roles, quotas, grants or query log.
- No queue of asynchronous inserts: `async_insert` is accepted, and an insert is stored when it is
  answered. Tokens against duplicates work as in the real server.
- Without rows as their unit (JSON, Parquet, Pretty and the like), or WITH TOTALS, a result is held
  whole before it is sent; Native, ArrowStream, RowBinary, CSV, TSV and JSONEachRow are streamed.
- Settings of the HTTP layer are understood where they matter here and accepted otherwise, progress
  headers among them. ClickHouse's own block compression (`compress=1`, `decompress=1`), the
  function `input`, INTO OUTFILE and FROM INFILE are refused with error 48.
- `client_protocol_version` is not followed: Native shows LowCardinality as its inner type, and a
  DateTime (not a DateTime64) without its time zone. The server's zone is UTC.
- Ids of queries are those of the requests in answers and for KILL QUERY WHERE query_id = '…';
  `system.processes` shows the engine's own.
- `readonly=1` is taken as `readonly=2`, and a URL must be shorter than 64 KiB.
- BACKUP and RESTORE take File('name') below the folder of `--backups`, as a folder: no zip or tar.
- The table function `file` reads what the process may read.
"""
