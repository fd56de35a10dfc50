"""The interface as curl sees it."""

import base64
import gzip
import http.client
import json
import re
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import lz4.frame  # type: ignore[import-untyped]
import pytest

from .conftest import PASSWORD, PATIENCE, USER, Reply, ServerProcess

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("path", ["/ping", "/replicas_status", "/"])
def test_health_needs_no_user(server: ServerProcess, path: str) -> None:
    reply = server.send(method="GET", path=path, auth=False)
    assert (reply.status, reply.body) == (200, b"Ok.\n")


def test_another_path_is_not_found(server: ServerProcess) -> None:
    reply = server.send(method="GET", path="/nowhere")
    assert reply.status == 404
    assert b"There is no handle /nowhere" in reply.body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-ClickHouse-User": USER},
        {"X-ClickHouse-User": USER, "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": PASSWORD},
        {"Authorization": "Basic " + base64.b64encode(b"sensor:wrong").decode()},
        {"Authorization": "Bearer abc"},
    ],
)
def test_who_has_no_right_password_is_refused(
    server: ServerProcess, headers: dict[str, str]
) -> None:
    reply = server.send(b"SELECT 1", auth=False, headers=headers)
    assert (reply.status, reply.code) == (403, "516")
    assert reply.body.startswith(b"Code: 516. DB::Exception: ")
    assert b"AUTHENTICATION_FAILED" in reply.body


def test_the_password_may_come_by_basic_authentication_or_in_the_query_string(
    server: ServerProcess,
) -> None:
    basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    by_header = server.send(b"SELECT 1", auth=False, headers={"Authorization": basic})
    by_query = server.send(b"SELECT 1", auth=False, user=USER, password=PASSWORD)
    assert by_header.body == by_query.body == b"1\n"


def test_the_query_may_be_in_the_url_in_the_body_or_in_both(server: ServerProcess) -> None:
    assert server.send(method="GET", query="SELECT 1").body == b"1\n"
    assert server.send(b"SELECT 2").body == b"2\n"
    assert server.send(b" 1 + 2", query="SELECT").body == b"3\n"


def test_the_headers_of_an_answer_are_those_of_clickhouse(server: ServerProcess) -> None:
    reply = server.send(b"SELECT number FROM numbers(3)", query_id="my-query")
    assert reply.headers["x-clickhouse-query-id"] == "my-query"
    assert reply.headers["x-clickhouse-format"] == "TabSeparated"
    assert reply.headers["x-clickhouse-timezone"] == "UTC"
    assert reply.headers["x-clickhouse-server-display-name"]
    assert reply.headers["content-type"].startswith("text/tab-separated-values")
    summary = json.loads(reply.headers["x-clickhouse-summary"])
    assert summary["read_rows"] == "3"
    assert summary["result_rows"] == "3"
    assert int(summary["elapsed_ns"]) > 0


def test_the_format_is_that_of_the_statement_or_else_the_default(server: ServerProcess) -> None:
    assert server.send(b"SELECT 1 AS a", default_format="JSONEachRow").body == b'{"a":1}\n'
    both = server.send(b"SELECT 1 AS a FORMAT CSVWithNames", default_format="JSONEachRow")
    assert both.body == b'"a"\n1\n'
    assert both.headers["x-clickhouse-format"] == "CSVWithNames"
    header = server.send(b"SELECT 1 AS a", headers={"X-ClickHouse-Format": "TSVWithNames"})
    assert header.body == b"a\n1\n"


@pytest.mark.parametrize(
    ("sql", "code", "status", "name"),
    [
        ("SELECT * FROM nowhere", "60", 404, "UNKNOWN_TABLE"),
        ("SELEC 1 FROM", "62", 400, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", "62", 400, "Multi-statements"),
        ("", "62", 400, "SYNTAX_ERROR"),
        ("SELECT 1 FORMAT Nonsuch", "73", 404, "UNKNOWN_FORMAT"),
        ("SELECT throwIf(1)", "395", 500, "THROW_IF"),
        ("SELECT 1 INTO OUTFILE 'x'", "48", 501, "NOT_IMPLEMENTED"),
        ("SELECT {a:String}", "456", 500, "UNKNOWN_QUERY_PARAMETER"),
    ],
)
def test_an_error_has_its_code_its_status_and_its_text(
    server: ServerProcess, sql: str, code: str, status: int, name: str
) -> None:
    reply = server.send(sql.encode())
    assert (reply.status, reply.code) == (status, code)
    assert re.match(rf"Code: {code}\. DB::Exception: .*{name}", reply.body.decode(), re.DOTALL)
    assert re.search(r"\(version \d+(\.\d+)+\)\n$", reply.body.decode())


def test_an_unknown_setting_is_an_error_and_spoils_nothing(server: ServerProcess) -> None:
    reply = server.send(b"SELECT 1", max_threads="1", no_such_setting="1")
    assert (reply.status, reply.code) == (404, "115")
    assert server.send(b"SELECT 1", max_threads="many").status == 400
    assert server.sql("SELECT 1") == "1\n"


@pytest.mark.parametrize("value", ["it's", "a\\'; DROP TABLE t; --", "\\", "x', max_threads='1"])
def test_the_value_of_a_setting_is_never_sql(server: ServerProcess, value: str) -> None:
    shown = server.sql("SELECT getSetting('format_csv_null_representation') FORMAT TSVRaw",
                       format_csv_null_representation=value)  # fmt: skip
    assert shown == value + "\n"


def test_a_setting_is_back_at_its_default_in_the_next_query(server: ServerProcess) -> None:
    sql = "SELECT getSetting('max_block_size')"
    default = server.sql(sql)
    for _ in range(20):  # over whatever connections the server keeps
        assert server.sql(sql, max_block_size="77") == "77\n"
        assert server.sql(sql) == default


def test_parameters_are_bound_in_queries_and_in_inserts(
    server: ServerProcess, database: str
) -> None:
    assert server.sql("SELECT {a:String} FORMAT TSVRaw", param_a="x'\\ty") == "x'\ty\n"
    server.sql("CREATE TABLE t (a UInt8) ENGINE = Memory", database=database)
    insert = "INSERT INTO {table:Identifier} FORMAT CSV\n5\n"
    server.sql(insert, database=database, param_table="t")
    assert server.sql("SELECT a FROM t", database=database) == "5\n"
    assert server.send(b"SELECT {table:String}").code == "456"


def test_the_database_is_chosen_by_parameter_or_header(
    server: ServerProcess, database: str
) -> None:
    sql = "SELECT currentDatabase()"
    assert server.sql(sql, database=database) == f"{database}\n"
    by_header = server.send(sql.encode(), headers={"X-ClickHouse-Database": database})
    assert by_header.body.decode() == f"{database}\n"
    assert server.sql(sql) == "default\n"
    assert (server.send(sql.encode(), database="no`where").status) == 404


def test_get_changes_nothing(server: ServerProcess, database: str) -> None:
    for sql in ("CREATE TABLE t (a UInt8) ENGINE = Memory", "DROP DATABASE " + database):
        for more in ({}, {"readonly": "0"}, {"session_id": uuid.uuid4().hex}):
            reply = server.send(method="GET", query=sql, database=database, arguments=more)
            assert (reply.status, reply.code) == (500, "164")
    assert server.sql("EXISTS DATABASE " + database) == "1\n"
    assert server.send(method="GET", query="SELECT 1", max_threads="1").body == b"1\n"


@pytest.mark.parametrize("readonly", ["1", "2"])
def test_a_request_may_make_itself_readonly(server: ServerProcess, readonly: str) -> None:
    reply = server.send(b"CREATE DATABASE never", readonly=readonly)
    assert reply.code == "164"
    assert server.sql("SELECT getSetting('readonly')") == "0\n"


@pytest.mark.parametrize("encoding", ["gzip", "lz4"])
def test_bodies_are_compressed_both_ways(
    server: ServerProcess, database: str, encoding: str
) -> None:
    packer = gzip if encoding == "gzip" else lz4.frame
    server.sql("CREATE TABLE t (a UInt64) ENGINE = Memory", database=database)
    lines = "".join(f"{i}\n" for i in range(500_000)).encode()
    stored = server.send(
        packer.compress(lines),
        headers={"Content-Encoding": encoding},
        query="INSERT INTO t FORMAT CSV",
        database=database,
    )
    assert stored.status == 200, stored.body
    assert json.loads(stored.headers["x-clickhouse-summary"])["written_rows"] == "500000"
    back = server.send(
        b"SELECT a FROM t ORDER BY a FORMAT CSV",
        headers={"Accept-Encoding": f"br, {encoding}"},
        enable_http_compression="1",
        database=database,
    )
    assert back.headers["content-encoding"] == encoding
    assert packer.decompress(back.body) == lines
    plain = server.send(b"SELECT 1", headers={"Accept-Encoding": encoding})
    assert plain.body == b"1\n"


def test_a_body_that_cannot_be_read_is_an_error(server: ServerProcess) -> None:
    broken = server.send(b"SELECT 1", headers={"Content-Encoding": "gzip"})
    assert (broken.status, broken.code) == (500, "271")
    unknown = server.send(b"SELECT 1", headers={"Content-Encoding": "rar"})
    assert unknown.status == 501
    assert server.send(b"SELECT 1", decompress="1").status == 501


def test_values_with_expressions_are_inserted(server: ServerProcess, database: str) -> None:
    server.sql("CREATE TABLE t (a UInt8, b String) ENGINE = Memory", database=database)
    server.sql("INSERT INTO t VALUES (1 + 1, 'a;b'), (3, upper('x'))", database=database)
    server.send(b"(4, 'body')", query="INSERT INTO t VALUES", database=database)
    server.sql("INSERT INTO t SELECT 5, 'select'", database=database)
    rows = server.sql("SELECT * FROM t ORDER BY a", database=database)
    assert rows == "2\ta;b\n3\tX\n4\tbody\n5\tselect\n"


@pytest.mark.parametrize(
    "fmt",
    [
        *("CSV", "CSVWithNames", "CSVWithNamesAndTypes", "TSVWithNames", "TSVWithNamesAndTypes"),
        *("JSONEachRow", "JSON", "Native", "RowBinary", "RowBinaryWithNamesAndTypes"),
        *("ArrowStream", "Parquet"),
    ],
)
@pytest.mark.parametrize("rows", [0, 3, 200_000])
def test_a_result_is_one_document_however_it_is_sent(
    server: ServerProcess, database: str, fmt: str, rows: int
) -> None:
    """Inserting an answer gives the rows back, so there is just one header and one end."""
    sql = b"SELECT number AS a, concat('x\n\"', toString(number)) AS b FROM numbers({n:UInt64})"
    answers = [
        server.send(sql, default_format=fmt, wait_end_of_query=whole, param_n=str(rows))
        for whole in "01"
    ]
    assert ("transfer-encoding" in answers[0].headers) is (
        rows > 100_000 and fmt not in {"JSON", "Parquet", "RowBinaryWithNamesAndTypes"}
    )
    server.sql("CREATE TABLE t (a UInt64, b String) ENGINE = Memory", database=database)
    facts = "SELECT count(), sum(a), sum(cityHash64(b)) FROM t"
    found = set()
    for answer in answers:
        assert answer.status == 200
        if answer.body:
            server.send(answer.body, query=f"INSERT INTO t FORMAT {fmt}", database=database)
        found.add(server.sql(facts, database=database))
        server.sql("TRUNCATE TABLE t", database=database)
    assert len(found) == 1
    assert found.pop().startswith(f"{rows}\t{rows * (rows - 1) // 2}\t")


def test_an_error_in_the_middle_is_marked_and_the_answer_is_cut_off(server: ServerProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    sql = b"SELECT throwIf(number = 900000) FROM numbers(1000000)"
    connection.request("POST", "/", sql, server.auth)
    response = connection.getresponse()
    tag = response.headers["X-ClickHouse-Exception-Tag"]
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead) as raised:
        response.read()
    connection.close()
    end = raised.value.partial[-2000:].decode()
    assert f"__exception__\r\n{tag}\r\nCode: 395. DB::Exception" in end


def test_a_session_keeps_settings_database_and_temporary_tables(
    server: ServerProcess, database: str
) -> None:
    session = uuid.uuid4().hex
    for sql in (
        f"USE {database}",
        "SET max_block_size = 55",
        "CREATE TEMPORARY TABLE mine (a UInt8)",
        "INSERT INTO mine VALUES (1)",
    ):
        server.sql(sql, session_id=session)
    shown = "SELECT currentDatabase(), getSetting('max_block_size'), a FROM mine"
    assert server.sql(shown, session_id=session) == f"{database}\t55\t1\n"
    over = server.sql(shown, session_id=session, database="system", max_block_size="66")
    assert over == "system\t66\t1\n"
    assert server.sql(shown, session_id=session) == f"{database}\t55\t1\n"
    assert server.send(b"SELECT a FROM mine").code == "60"
    assert server.send(b"SELECT a FROM mine", session_id=uuid.uuid4().hex).code == "60"
    server.sql("SELECT 1", session_id=session, close_session="1")
    assert server.send(b"SELECT 1", session_id=session, session_check="1").code == "372"


def test_what_is_set_without_a_session_is_gone_with_the_request(server: ServerProcess) -> None:
    server.sql("SET max_block_size = 5")
    server.sql("USE system")
    for _ in range(20):
        assert server.sql("SELECT currentDatabase()") == "default\n"
        assert server.sql("SELECT getSetting('max_block_size')") != "5\n"


def test_a_session_does_one_thing_at_a_time(server: ServerProcess) -> None:
    session, mark = uuid.uuid4().hex, uuid.uuid4().hex
    with background(server, f"{LONG} /* {mark} */", session_id=session, query_id=mark):
        wait_for(server, mark, present=True)
        assert server.send(b"SELECT 1", session_id=session).code == "373"
        server.sql(f"KILL QUERY WHERE query_id = '{mark}'")
    assert server.sql("SELECT 1", session_id=session) == "1\n"


def test_an_id_is_not_given_to_two_queries_at_a_time(server: ServerProcess) -> None:
    mark = uuid.uuid4().hex
    with background(server, f"{LONG} /* {mark} */", query_id=mark) as query:
        wait_for(server, mark, present=True)
        assert server.send(b"SELECT 1", query_id=mark).code == "216"
        server.sql(f"KILL QUERY WHERE query_id = '{mark}'")
    assert query.reply.code == "394"
    assert server.sql("SELECT 1", query_id=mark) == "1\n"


class background:  # noqa: N801 - reads as a statement
    """Runs a query meanwhile; `reply` is there afterwards."""

    reply: Reply

    def __init__(self, server: ServerProcess, sql: str, **arguments: str) -> None:
        def run() -> None:
            self.reply = server.send(sql.encode(), arguments=arguments)

        self._thread = threading.Thread(target=run)

    def __enter__(self) -> "background":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)


def running(server: ServerProcess, text: str) -> bool:
    sql = (
        "SELECT count() FROM system.processes "
        "WHERE position(query, {text:String}) > 0 AND position(query, 'system.processes') = 0"
    )
    return server.sql(sql, param_text=text) != "0\n"


def wait_for(server: ServerProcess, text: str, *, present: bool) -> None:
    deadline = time.monotonic() + PATIENCE
    while running(server, text) is not present:
        assert time.monotonic() < deadline
        time.sleep(0.02)


LONG = "SELECT sum(sleepEachRow(0.1)) FROM numbers(600) SETTINGS max_block_size = 1"


def test_a_query_is_killed_by_the_id_its_client_gave(server: ServerProcess) -> None:
    query_id, mark = uuid.uuid4().hex, uuid.uuid4().hex
    with background(server, f"{LONG} /* {mark} */", query_id=query_id) as query:
        wait_for(server, mark, present=True)
        server.sql(f"KILL QUERY WHERE query_id = '{query_id}'")
    assert (query.reply.status, query.reply.code) == (500, "394")
    assert server.sql("KILL QUERY WHERE query_id = 'nobody'") == ""


def test_a_query_that_names_itself_to_be_killed_is_answered(server: ServerProcess) -> None:
    query_id = uuid.uuid4().hex
    killed = f"KILL QUERY WHERE query_id = '{query_id}'".encode()
    assert server.send(killed, query_id=query_id).status in {200, 500}
    assert server.sql("SELECT 1") == "1\n"


def test_a_query_ends_when_its_time_is_over(server: ServerProcess) -> None:
    reply = server.send(b"SELECT count() FROM numbers(1000000000000)", max_execution_time="1")
    assert (reply.status, reply.code) == (408, "159")


def test_a_query_ends_when_its_client_goes_away(server: ServerProcess) -> None:
    mark = uuid.uuid4().hex
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request(
        "POST",
        "/?cancel_http_readonly_queries_on_client_close=1",
        f"{LONG} /* {mark} */".encode(),
        server.auth,
    )
    wait_for(server, mark, present=True)
    connection.close()
    wait_for(server, mark, present=False)


def test_a_stream_ends_when_its_reader_goes_away(server: ServerProcess) -> None:
    mark = uuid.uuid4().hex
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    sql = b"SELECT number FROM numbers(100000000000) -- " + mark.encode()
    connection.request("POST", "/", sql, server.auth)
    response = connection.getresponse()
    assert len(response.read(1_000_000)) == 1_000_000
    wait_for(server, mark, present=True)
    response.close()
    connection.close()
    wait_for(server, mark, present=False)


def test_inserts_and_queries_run_side_by_side(server: ServerProcess, database: str) -> None:
    server.sql("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a", database=database)

    def insert(number: int) -> int:
        rows = "".join(f"{number * 100 + i}\n" for i in range(100))
        reply = server.send(rows.encode(), query="INSERT INTO t FORMAT CSV", database=database)
        return reply.status

    def count(_: int) -> int:
        return int(server.sql("SELECT count() FROM t", database=database))

    with ThreadPoolExecutor(40) as pool:
        inserted, counts = pool.map(insert, range(60)), pool.map(count, range(60))
        assert set(inserted) == {200}
        assert all(n % 100 == 0 for n in counts)
    assert server.sql("SELECT count(), uniqExact(a) FROM t", database=database) == "6000\t6000\n"


def test_a_body_longer_than_any_head_may_be_is_taken(server: ServerProcess) -> None:
    """Its last piece ends the request, and must not be counted as the next one's head."""
    data = "".join(f"{number}\n" for number in range(300_000)).encode()
    server.sql("CREATE TABLE long_body (n UInt64) ENGINE = Memory")
    for _ in range(5):
        assert server.send(data, query="INSERT INTO long_body FORMAT TSV").status == 200
    assert server.sql("SELECT count() FROM long_body") == "1500000\n"


def test_what_is_too_long_is_refused(server: ServerProcess) -> None:
    assert server.send(method="GET", query="SELECT 1 --" + "x" * 1_100_000).status == 400
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as stranger:
        received = b""
        try:
            stranger.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
            for _ in range(400):
                stranger.sendall(b"x" * 10_000)
            received = stranger.recv(100)
        except ConnectionError:
            pass
        assert received == b"" or received.startswith(b"HTTP/1.1 431")
    large = server.send(b"SELECT 1 -- " + b"x" * (17 * 1024 * 1024))
    assert (large.status, large.code) == (413, "229")
    assert server.sql("SELECT 1") == "1\n"
