import pytest

from sensor_local.clickhouse.errors import ServerError
from sensor_local.clickhouse.statement import parse, split


@pytest.mark.parametrize(
    ("text", "fmt"),
    [
        (b"SELECT 1", None),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"select 1\n format\tNative ;", "Native"),
        (b"SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "CSV"),
        (b"SELECT 'a FORMAT b'", None),
        (b"SELECT 1 -- FORMAT CSV", None),
        (b"SELECT `FORMAT x` FROM t /* FORMAT CSV */", None),
        (b"SELECT formatDateTime(now(), 'FORMAT x') FROM t FORMAT TSV", "TSV"),
        (b"SELECT (SELECT 1 AS format) FORMAT TSV", "TSV"),
    ],
)
def test_the_format_clause_is_found_only_outside_of_quotes_and_comments(
    text: bytes, fmt: str | None
) -> None:
    assert parse(text).format == fmt


@pytest.mark.parametrize(
    ("text", "sql", "fmt", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"INSERT INTO t ", "CSV", b"1,2\n"),
        (b"INSERT INTO t FORMAT Native\n\n\x00;", b"INSERT INTO t ", "Native", b"\n\x00;"),
        (b"INSERT INTO t FORMAT Native \r\n\x01", b"INSERT INTO t ", "Native", b"\x01"),
        (b"insert into t (a) values (1, ';')", b"insert into t (a) ", "Values", b" (1, ';')"),
        (b"INSERT INTO t SETTINGS x=1 FORMAT TSV 1", b"INSERT INTO t SETTINGS x=1 ", "TSV", b"1"),
        (b"INSERT INTO format FORMAT CSV 1", b"INSERT INTO format ", "CSV", b"1"),
        (b"INSERT INTO values (format) FORMAT CSV 1", b"INSERT INTO values (format) ", "CSV", b"1"),
        (b"INSERT INTO `FORMAT x` FORMAT CSV\n1", b"INSERT INTO `FORMAT x` ", "CSV", b"1"),
        (b"INSERT INTO {t:Identifier} FORMAT CSV\n1", b"INSERT INTO {t:Identifier} ", "CSV", b"1"),
        (b"/* FORMAT x */ INSERT INTO t FORMAT CSV", b"/* FORMAT x */ INSERT INTO t ", "CSV", b""),
        (b"INSERT INTO TABLE t FORMAT CSV\n1", b"INSERT INTO TABLE t ", "CSV", b"1"),
        (b"INSERT INTO FUNCTION f('a') FORMAT CSV 1", b"INSERT INTO FUNCTION f('a') ", "CSV", b"1"),
        (b"INSERT INTO t", b"INSERT INTO t", "Values", b""),
    ],
)
def test_an_insert_is_cut_where_its_data_begin(
    text: bytes, sql: bytes, fmt: str, data: bytes
) -> None:
    statement = parse(text)
    assert (statement.sql, statement.format, statement.data) == (sql, fmt, data)


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t (a) WITH 1 AS x SELECT x",
        b"INSERT INTO t (SELECT 1)",
    ],
)
def test_an_insert_from_a_query_takes_no_data(text: bytes) -> None:
    statement = parse(text)
    assert statement.data is None
    assert statement.sql == text


@pytest.mark.parametrize("text", [b"SELECT 1; SELECT 2", b"INSERT INTO t SELECT 1; DROP TABLE t"])
def test_several_statements_are_refused(text: bytes) -> None:
    with pytest.raises(ServerError, match="Multi-statements") as raised:
        parse(text)
    assert raised.value.code == 62


@pytest.mark.parametrize("text", [b"SELECT 1;", b"SELECT ';'", b"SELECT 1; -- the end; really\n"])
def test_a_semicolon_that_separates_nothing_is_allowed(text: bytes) -> None:
    assert parse(text).keyword == b"SELECT"


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 INTO OUTFILE '/tmp/x'",
        b"INSERT INTO t FROM INFILE '/tmp/x' FORMAT CSV",
        b"INSERT INTO t SELECT a FROM input('a UInt8') FORMAT CSV\n1",
        b"INSERT INTO t (SELECT a FROM input ('a UInt8'))",
    ],
)
def test_what_the_engine_does_otherwise_than_a_server_is_refused(text: bytes) -> None:
    with pytest.raises(ServerError) as raised:
        parse(text)
    assert raised.value.status == 501


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        (b" -- note\n select 1", b"SELECT"),
        (b"/* a\nb */(SELECT 1) UNION ALL (SELECT 2)", b"SELECT"),
        (b"", b""),
        (b"-- only a comment", b""),
    ],
)
def test_the_first_word_is_found_behind_comments_and_brackets(text: bytes, keyword: bytes) -> None:
    assert parse(text).keyword == keyword


def test_a_script_is_split_at_semicolons_that_separate_statements() -> None:
    script = "SELECT ';' -- ;\n; SELECT 2;;\nSELECT `a;b`"
    assert split(script) == (["SELECT ';' -- ;", "SELECT 2"], "\nSELECT `a;b`")


def test_a_kill_by_id_is_taken_apart() -> None:
    killed = parse(b"KILL QUERY WHERE query_id = 'abc' SYNC").killed_query()
    assert killed == (b"KILL QUERY WHERE ", "abc", b" SYNC")
    assert parse(b"KILL QUERY WHERE user = 'abc'").killed_query() is None
