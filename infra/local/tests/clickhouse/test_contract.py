"""What the functions do through clickhouse-connect, each by the sync and by the async client."""

import datetime as dt
import inspect
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

pytestmark = pytest.mark.integration

NOON = dt.datetime(2026, 11, 23, 12, 0, 0, 123_000, tzinfo=dt.UTC).replace(tzinfo=None)


class Call:
    """Calls a method of either client by its name."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self._client = client

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self._client, method)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def blocks(self, sql: str) -> AsyncIterator[Any]:
        if isinstance(self._client, AsyncClient):
            async with await self._client.query_row_block_stream(sql) as stream:
                async for block in stream:
                    yield block
        else:
            with self._client.query_row_block_stream(sql) as blocks:
                for block in blocks:
                    yield block


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, client: Client, async_client: AsyncClient) -> Call:
    return Call(client if request.param == "sync" else async_client)


@pytest.fixture
async def table(call: Call) -> str:
    await call(
        "command",
        "CREATE TABLE t (id UInt64, name String, time DateTime64(3, 'UTC'), "
        "value Nullable(Decimal(9, 3)), kind LowCardinality(String), marks Array(UInt8), "
        "state Enum8('active' = 1, 'error' = 2)) "
        "ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 100",
    )
    return "t"


def arrow_stream(ids: list[int]) -> bytes:
    batch = pa.table({"id": pa.array(ids, pa.uint64()), "name": [str(i) for i in ids]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_table(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


async def test_rows_of_all_types_come_back_as_they_were_inserted(call: Call, table: str) -> None:
    rows = [
        (1, "a'\t\\\n", NOON, Decimal("20.125"), "x", [1, 2], "active"),
        (2, "äöü", NOON, None, "x", [], "error"),
    ]
    columns = ["id", "name", "time", "value", "kind", "marks", "state"]
    summary = await call("insert", table, rows, column_names=columns)
    assert summary.written_rows == 2
    result = await call("query", "SELECT * FROM t ORDER BY id")
    assert list(result.column_names) == columns
    assert [tuple(row) for row in result.result_rows] == rows
    # The async client reads no summary while it streams a result.
    assert result.row_count == 2


@pytest.mark.parametrize(
    "value", ["it's", "tab\tline\nback\\slash", "ü", "", "'; DROP TABLE t --", "{x:String}"]
)
async def test_a_bound_parameter_is_a_value_whatever_it_holds(call: Call, value: str) -> None:
    result = await call("query", "SELECT {v:String} AS v", parameters={"v": value})
    assert result.result_rows[0][0] == value


async def test_parameters_of_other_types_are_bound(call: Call) -> None:
    result = await call(
        "query",
        "SELECT {n:Nullable(Int64)}, {a:Array(String)}, {t:DateTime64(3)}, {d:Decimal(9, 3)}",
        parameters={"n": None, "a": ["x'", "y"], "t": NOON, "d": Decimal("1.250")},
    )
    assert list(result.result_rows[0]) == [None, ["x'", "y"], NOON, Decimal("1.250")]


async def test_a_very_long_parameter_goes_by_form(call: Call) -> None:
    value = "x" * 200_000
    result = await call("query", "SELECT length({v:String})", parameters={"v": value})
    assert result.result_rows[0][0] == len(value)


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "zstd"])
async def test_an_arrow_stream_is_inserted(call: Call, table: str, compression: str | None) -> None:
    data = arrow_stream([7, 8])
    if compression is not None:
        data = pa.compress(data, codec="lz4" if compression == "lz4" else compression, asbytes=True)
    summary = await call(
        "raw_insert", table, ["id", "name"], data, fmt="ArrowStream", compression=compression
    )
    assert summary.written_rows == 2
    assert (await call("query", "SELECT sum(id) FROM t")).result_rows[0][0] == 15


async def test_json_lines_are_inserted(call: Call, table: str) -> None:
    lines = b'{"id": 1, "name": "a;b", "time": "2026-11-23 12:00:00.123"}\n{"id": 2}\n'
    summary = await call("raw_insert", table, insert_block=lines, fmt="JSONEachRow")
    assert summary.written_rows == 2
    assert await call("command", "SELECT name FROM t WHERE id = 1") == "a;b"


async def test_an_insert_with_the_same_token_is_stored_once(call: Call, table: str) -> None:
    for ids, token in (([1, 2], "first"), ([1, 2], "first"), ([1, 2], "second")):
        await call(
            "raw_insert",
            table,
            ["id", "name"],
            arrow_stream(ids),
            fmt="ArrowStream",
            settings={"insert_deduplication_token": token, "async_insert": 1},
        )
    assert await call("command", "SELECT count() FROM t") == 4
    await call("raw_insert", table, ["id", "name"], arrow_stream([9]), fmt="ArrowStream")
    await call("raw_insert", table, ["id", "name"], arrow_stream([10]), fmt="ArrowStream")
    assert await call("command", "SELECT count() FROM t") == 6


async def test_a_table_is_read_as_arrow(call: Call) -> None:
    table = await call("query_arrow", "SELECT number AS n FROM numbers(200000)")
    assert table.num_rows == 200_000
    assert table["n"][199_999].as_py() == 199_999
    empty = await call("query_arrow", "SELECT number AS n FROM numbers(0)")
    assert empty.num_rows == 0


async def test_a_large_result_is_streamed(call: Call) -> None:
    sql = "SELECT number, toString(number) FROM numbers(400000)"
    rows, parts = 0, 0
    async for block in call.blocks(sql):
        rows += len(block)
        parts += 1
    assert rows == 400_000
    assert parts > 1


async def test_an_error_in_the_middle_of_a_stream_is_raised(call: Call) -> None:
    sql = "SELECT throwIf(number = 900000, 'too far') FROM numbers(1000000)"
    with pytest.raises(StreamFailureError, match="too far"):
        async for _ in call.blocks(sql):
            pass


async def test_settings_count_for_their_query_only(call: Call) -> None:
    sql = "SELECT getSetting('max_block_size')"
    before = (await call("query", sql)).result_rows[0][0]
    changed = await call("query", sql, settings={"max_block_size": 1234})
    assert changed.result_rows[0][0] == 1234
    assert (await call("query", sql)).result_rows[0][0] == before != 1234


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT * FROM nowhere", 60), ("SELEC 1 FROM", 62), ("SELECT nosuch()", 46)],
)
async def test_an_error_has_clickhouse_s_code_and_text(call: Call, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError, match=f"Code: {code}. DB::Exception") as raised:
        await call("query", sql)
    assert raised.value.code == code


async def test_rejected_data_store_nothing(call: Call, table: str) -> None:
    with pytest.raises(DatabaseError, match="DB::Exception"):
        await call("raw_insert", table, insert_block=b'{"id": "x"}\n', fmt="JSONEachRow")
    assert await call("command", "SELECT count() FROM t") == 0


async def test_a_database_is_chosen_per_client(call: Call, database: str) -> None:
    assert await call("command", "SELECT currentDatabase()") == database


async def test_columns_are_known_without_rows(call: Call, table: str) -> None:
    result = await call("query", "SELECT id, time FROM t LIMIT 0")
    assert list(result.column_names) == ["id", "time"]
    assert [c.name for c in result.column_types] == ["UInt64", "DateTime64(3, 'UTC')"]


async def test_a_table_can_be_brought_along(call: Call) -> None:
    brought = ExternalData(
        file_name="ids", data=b"1\n5\n", fmt="CSV", structure=["id UInt64"], mime_type="text/csv"
    )
    result = await call("query", "SELECT sum(id) FROM ids", external_data=brought)
    assert result.result_rows[0][0] == 6


async def test_the_id_of_a_query_is_the_one_that_was_asked_for(call: Call) -> None:
    query_id = str(uuid.uuid4())
    result = await call("query", "SELECT 1", settings={"query_id": query_id})
    assert result.query_id == query_id
