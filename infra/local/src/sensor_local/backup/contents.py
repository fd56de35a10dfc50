"""What a database holds, table by table, so that two of them can be compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clickhouse_connect.driver.asyncclient import AsyncClient

from sensor_local.clickhouse.connection import quote_name

_TABLES = "SELECT name FROM system.tables WHERE database = {database:String} ORDER BY name"


@dataclass(frozen=True)
class Content:
    """What answers are made from: each key once, as `FINAL` has it.

    Attributes:
        rows: their number.
        checksum: of all columns of all rows, in any order.
    """

    rows: int
    checksum: int


Contents = Mapping[str, Content]


async def contents(client: AsyncClient, database: str) -> Contents:
    """Reads every table of a database whole; empty without such a database.

    Raises:
        ClickHouseError, OSError: when ClickHouse does not answer.
    """
    tables = (await client.query(_TABLES, parameters={"database": database})).result_rows
    return {str(table): await _content(client, database, str(table)) for (table,) in tables}


async def _content(client: AsyncClient, database: str, table: str) -> Content:
    name = f"{quote_name(database)}.{quote_name(table)}"
    # A tuple's hash knows its nulls. The sum is modulo 2^64, the same for any order of rows.
    sql = f"SELECT count(), sum(sipHash64(tuple(*))) FROM {name} SETTINGS final = 1"  # noqa: S608
    rows, checksum = (await client.query(sql)).result_rows[0]
    return Content(int(rows), int(checksum or 0))


def lines(found: Contents) -> Iterator[str]:
    """Yields one line for each table."""
    width = max(map(len, found), default=0)
    for table, content in found.items():
        yield f"{table:<{width}}  {content.rows:>14,} rows  {content.checksum:016x}"
