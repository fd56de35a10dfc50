"""Backup and restore as docs/operations tells it, on the embedded engine."""

import asyncio
import io
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sensor_local.backup import statements
from sensor_local.backup.__main__ import main
from sensor_local.backup.contents import contents
from sensor_local.checkout import MIGRATIONS
from sensor_local.failure import StartError
from sensor_shared.adapters.migrations import migrate, read_migrations

from .conftest import World

TABLES = {
    *("alert_changes", "notifications", "silences"),
    *("alerts", "devices", "readings", "readings_day", "readings_hour", "readings_minute"),
    *("rejects", "revocations", "rollup_marks", "rollup_runs", "schema_migrations", "users"),
    *("api_keys", "security_events"),
}


def said_after(text: str, begin: str) -> list[str]:
    return text[text.index(begin) :].splitlines()[1:]


@pytest.mark.integration
async def test_a_lost_database_comes_back_whole(world: World) -> None:
    """After DROP DATABASE and a restore every table has the rows and checksums it had."""
    database = world.settings.database
    before = await contents(world.client, database)
    assert before.keys() == TABLES
    assert before["readings"].rows == 2000
    assert {name for name, one in before.items() if not one.rows} == {
        "readings_hour", "readings_day",
    }  # fmt: skip
    status, said = await asyncio.to_thread(world, "save", "--to", f"{database}/one")
    assert (status, said.partition(" to ")[0]) == (0, f"saved {database}")
    await world.client.command(f"DROP DATABASE {database} SYNC")
    assert await contents(world.client, database) == {}

    status, said = await asyncio.to_thread(world, "restore", "--from", f"{database}/one")
    assert status == 0
    assert said.splitlines()[1] == "the schema is up to date"
    assert await contents(world.client, database) == before
    assert await migrate(world.settings, read_migrations(MIGRATIONS)) == []


@pytest.mark.integration
async def test_a_replay_begins_before_what_was_on_its_way_when_it_was_saved(world: World) -> None:
    """The newest reading tells how far the consumer was, when it is behind or devices are ahead."""
    database = world.settings.database

    async def since() -> datetime:
        _, said = await asyncio.to_thread(world, "save", "--to", f"{database}/{uuid.uuid4().hex}")
        return datetime.fromisoformat(said.split("make replay FROM=")[1].strip())

    margin = timedelta(minutes=10)
    await world.client.command(
        "INSERT INTO readings VALUES ('ahead', now64(3) + INTERVAL 1 HOUR, 1, NULL, NULL, 'active')"
    )
    assert abs(await since() + margin - datetime.now(UTC)) < timedelta(seconds=30)
    await world.client.command("TRUNCATE TABLE readings")
    behind = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    await world.client.command(
        f"INSERT INTO readings VALUES ('a', '{behind:%F %T}', 1, NULL, NULL, 'active')"  # noqa: S608
    )
    assert await since() == behind - margin


@pytest.mark.integration
async def test_a_backup_can_be_tried_beside_the_database(world: World) -> None:
    """Restored under another name, both show the same lines; the live one is not touched."""
    database = world.settings.database
    _, said = await asyncio.to_thread(world, "save", "--to", f"{database}/tried", "--sums")
    live = said_after(said, "after a restore")
    assert len(live) == len(TABLES)
    status, said = await asyncio.to_thread(
        world,
        *("restore", "--from", f"{database}/tried", "--database", database, "--sums"),
        database=f"{database}_tried",
    )
    assert status == 0
    assert said_after(said, "the schema") == live
    # The comparison sees one value that differs.
    await world.client.command(
        f"INSERT INTO {database}_tried.devices VALUES"  # noqa: S608 - our own name
        " ('device-1', 'weather', 'south', 41.5, NULL, now64(3) + 1)"
    )
    status, said = await asyncio.to_thread(world, "show", database=f"{database}_tried")
    assert status == 0, said
    changed = [line for line, was in zip(said.splitlines(), live, strict=True) if line != was]
    assert [line.split()[0] for line in changed] == ["devices"]


@pytest.mark.integration
async def test_an_incremental_backup_holds_what_came_after_its_base(world: World) -> None:
    database = world.settings.database
    await asyncio.to_thread(world, "save", "--to", f"{database}/base")
    await world.client.command(
        "INSERT INTO readings VALUES ('device-new', now64(3), 1, NULL, NULL, 'active')"
    )
    after = await contents(world.client, database)
    status, _ = await asyncio.to_thread(
        world, "save", "--to", f"{database}/next", "--base", f"{database}/base"
    )
    assert status == 0
    query = "SELECT num_entries FROM system.backups WHERE name LIKE {name:String}"
    written = [
        (await world.client.query(query, parameters={"name": f"%{database}/{name}%"})).result_rows
        for name in ("base", "next")
    ]
    assert written[1][0][0] < written[0][0][0] / 2  # files that had to be written
    await world.client.command(f"DROP DATABASE {database} SYNC")
    status, _ = await asyncio.to_thread(world, "restore", "--from", f"{database}/next")
    assert status == 0
    assert await contents(world.client, database) == after


@pytest.mark.integration
async def test_a_restore_adds_nothing_to_tables_with_rows(world: World) -> None:
    database = world.settings.database
    await asyncio.to_thread(world, "save", "--to", f"{database}/full")
    before = await contents(world.client, database)
    status, said = await asyncio.to_thread(world, "restore", "--from", f"{database}/full")
    assert status == 1
    assert "CANNOT_RESTORE_TABLE" in said
    assert await contents(world.client, database) == before


@pytest.mark.integration
async def test_a_restore_of_an_older_schema_is_brought_up_to_date(
    world: World, tmp_path: Path
) -> None:
    """A backup from before the newest migration gets it when it is restored."""
    settings = world.settings.model_copy(update={"database": f"{world.settings.database}_old"})
    *older, newest = sorted(MIGRATIONS.glob("*.sql"))
    for file in older:
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    await migrate(settings, read_migrations(tmp_path))
    await asyncio.to_thread(world, "save", "--to", settings.database, database=settings.database)
    await world.client.command(f"DROP DATABASE {settings.database} SYNC")
    status, said = await asyncio.to_thread(
        world, "restore", "--from", settings.database, database=settings.database
    )
    assert status == 0
    assert said.splitlines()[1] == f"applied: {newest.stem.partition('_')[2]}"


@pytest.mark.integration
async def test_no_backup_leaves_the_folder_that_is_allowed(world: World, tmp_path: Path) -> None:
    status, said = await asyncio.to_thread(world, "save", "--to", f"File('{tmp_path}/out')")
    assert status == 1
    assert "not allowed for backups" in said
    assert not (tmp_path / "out").exists()


def test_a_place_is_a_name_or_a_place_of_clickhouse() -> None:
    assert statements.place("2026/nov-25.1") == "File('2026/nov-25.1')"
    assert statements.place("S3(backups, 'twinup/1')") == "S3(backups, 'twinup/1')"
    for wrong in ("", "../up", "a/../b", "/etc", "File('x'); DROP DATABASE a", "x y", "URL('x')"):
        with pytest.raises(StartError):
            statements.place(wrong)


def test_on_a_cluster_all_replicas_are_told() -> None:
    assert statements.backup("twinup", "one", "zero", "east") == (
        "BACKUP DATABASE `twinup` ON CLUSTER 'east' TO File('one')"
        " SETTINGS base_backup = File('zero')"
    )
    assert statements.restore("twinup", "tried", "one", "east") == (
        "RESTORE DATABASE `twinup` AS `tried` ON CLUSTER 'east' FROM File('one')"
    )


def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    said = io.StringIO()
    assert main(["show"], {"TWINUP_RUN_DIR": str(tmp_path)}, said, said) == 1
    assert "not running" in said.getvalue()
    port = {"TWINUP_CLICKHOUSE_HOST": "127.0.0.1", "TWINUP_CLICKHOUSE_PORT": "9000"}
    assert main(["show"], port, said, said) == 1
    assert "8123" in said.getvalue()
