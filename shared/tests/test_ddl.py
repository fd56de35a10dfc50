"""The two forms of the DDL: for one server, and for a cluster."""

import sys
from dataclasses import replace
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_local.checkout import MIGRATIONS
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect, error_code
from sensor_shared.adapters.ddl import DdlError, for_cluster
from sensor_shared.adapters.migrations import (
    MigrationError,
    main,
    migrate,
    read_migrations,
)
from sensor_shared.testing.parts import DatabaseServer

NO_ZOOKEEPER = 225
STATEMENTS = [
    statement for migration in read_migrations(MIGRATIONS) for statement in migration.statements
]


def name(statement: str) -> str:
    return next(line for line in statement.splitlines() if not line.startswith("--"))


def settings(server: DatabaseServer, **changes: Any) -> ClickHouseSettings:
    section = {"port": server.port, "user": server.user, "password": server.password}
    return ClickHouseSettings.model_validate(section | changes)


@pytest.mark.integration
@pytest.mark.parametrize("statement", STATEMENTS, ids=name)
async def test_both_forms_differ_in_place_engine_and_window_and_in_nothing_else(
    clickhouse_server: Any, statement: str
) -> None:
    """As the engine's own parser reads and writes them: the same columns, keys, TTL, settings."""
    client = await connect(settings(clickhouse_server, database="default"))
    try:
        query = "SELECT formatQuery({a:String}), formatQuery({b:String})"
        forms = {"a": statement, "b": for_cluster(statement, "main")}
        (formatted,) = (await client.query(query, parameters=forms)).result_rows
    finally:
        await client.close()
    single, cluster = (text.splitlines() for text in formatted)
    assert len(single) == len(cluster)
    changed = [(a, b) for a, b in zip(single, cluster, strict=True) if a != b]
    (head, head_there), *others = changed
    if "ALTER TABLE" in statement:
        table = head.split()[2]
        assert head_there == head.replace(table, f"{table} ON CLUSTER main", 1)
        assert others == []
        return
    (engine, engine_there), *window = others
    assert head_there == head.replace(head.split()[5], head.split()[5] + " ON CLUSTER main", 1)
    arguments = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
    kind, _, rest = engine.removeprefix("ENGINE = ").partition("(")
    more = f", {rest.removesuffix(')')}" if rest else ""
    assert engine_there == f"ENGINE = Replicated{kind}({arguments}{more})"
    assert [b for _, b in window] == [
        a.replace("non_replicated_deduplication_window", "replicated_deduplication_window")
        for a, _ in window
    ]


@pytest.mark.integration
@pytest.mark.parametrize("statement", [s for s in STATEMENTS if "CREATE TABLE" in s], ids=name)
async def test_the_engine_takes_the_form_for_a_cluster_up_to_the_missing_keeper(
    clickhouse_server: Any, statement: str
) -> None:
    """Columns, arguments and settings are judged before the Keeper, which is not embedded."""
    text = for_cluster(statement, "main").replace(" ON CLUSTER 'main'", "")
    text = text.replace("IF NOT EXISTS ", "IF NOT EXISTS other_", 1)
    text = text.replace("{shard}", "1").replace("{replica}", "1")  # macros of a server's own
    client = await connect(settings(clickhouse_server, database=clickhouse_server.database()))
    try:
        with pytest.raises(ClickHouseError) as raised:
            await client.command(text)
        assert error_code(raised.value) == NO_ZOOKEEPER
        with pytest.raises(ClickHouseError) as raised:
            await client.command(text.replace("MergeTree(", "MergeTree(1, ", 1))
        assert error_code(raised.value) != NO_ZOOKEEPER
    finally:
        await client.close()


@pytest.mark.integration
async def test_a_single_server_takes_the_settings_that_a_cluster_gets(
    clickhouse_server: Any,
) -> None:
    database = clickhouse_server.database()
    client = await connect(settings(clickhouse_server, database=database, cluster="main"))
    try:
        await client.command("INSERT INTO rollup_runs (begun_at) SELECT now()")
        assert (await client.query("SELECT count() FROM rollup_runs")).first_row == (1,)
        query = "SELECT getSetting('insert_quorum'), getSetting('select_sequential_consistency')"
        assert (await client.query(query)).first_row == ("auto", True)
    finally:
        await client.close()


@pytest.mark.integration
async def test_a_second_run_applies_nothing(clickhouse_server: Any) -> None:
    made = settings(clickhouse_server, database=clickhouse_server.database())
    migrations = read_migrations(MIGRATIONS)
    assert await migrate(made, migrations) == []
    changed = [replace(migrations[0], checksum="0" * 64), *migrations[1:]]
    with pytest.raises(MigrationError, match="0001_readings was changed"):
        await migrate(made, changed)
    with pytest.raises(MigrationError, match="the files end at 1"):
        await migrate(made, migrations[:1])


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE readings",
        "INSERT INTO readings VALUES (1)",
        "CREATE TABLE readings (a Int8) ENGINE = MergeTree ORDER BY a",
        "CREATE TABLE IF NOT EXISTS readings (a Int8)\nENGINE = Memory",
        "CREATE TABLE IF NOT EXISTS readings (a Int8)",
    ],
)
def test_what_has_no_form_for_a_cluster_is_refused(statement: str) -> None:
    with pytest.raises(DdlError):
        for_cluster(statement, "main")


def test_a_table_is_altered_on_the_whole_cluster() -> None:
    assert (
        for_cluster("-- Why.\nALTER TABLE readings ADD COLUMN a Int8", "main")
        == "-- Why.\nALTER TABLE readings ON CLUSTER 'main' ADD COLUMN a Int8"
    )


def test_the_command_prints_both_forms_without_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINUP_CLICKHOUSE_PORT", "9")
    arguments = ["migrations", str(MIGRATIONS), "--print"]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    single = capsys.readouterr().out
    assert all(statement in single for statement in STATEMENTS)
    assert "Replicated" not in single
    monkeypatch.setattr(sys, "argv", [*arguments, "--cluster", "main"])
    main()
    cluster = capsys.readouterr().out
    verbs = ("CREATE TABLE", "CREATE DATABASE", "ALTER TABLE")
    assert cluster.count("ON CLUSTER 'main'") == sum(cluster.count(verb) for verb in verbs)
    assert cluster.count("ENGINE = Replicated") == cluster.count("ENGINE = ")
    assert cluster.count("non_replicated") == 0


def test_a_cluster_whose_name_could_end_the_statement_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["migrations", str(MIGRATIONS), "--print", "--cluster", "a' DROP"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="TWINUP_CLICKHOUSE_CLUSTER"):
        main()
