"""Applies numbered SQL files to ClickHouse, each once and in order.

`python -m sensor_shared.adapters.migrations FOLDER` does it for the database that
`TWINUP_CLICKHOUSE_*` names: on one machine at start, on Kubernetes as a Job. The files stand for
one server; with `TWINUP_CLICKHOUSE_CLUSTER` they are rendered for that cluster. `--print` shows
what would be sent, for one server or, by `--cluster NAME`, for a cluster, and asks no server.
"""

import argparse
import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect
from sensor_shared.adapters.ddl import DdlError, for_cluster
from sensor_shared.runtime.settings import Settings, SettingsError

_FILE = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_END_OF_STATEMENT = re.compile(r";[ \t]*$", re.MULTILINE)

_LEDGER = """\
-- What has been applied.
CREATE TABLE IF NOT EXISTS schema_migrations
(version UInt32, name String, checksum FixedString(64), applied_at DateTime DEFAULT now())
ENGINE = ReplacingMergeTree
ORDER BY version"""


class MigrationError(Exception):
    """The files and the database do not fit together."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    checksum: str
    statements: tuple[str, ...]


def read_migrations(folder: Path) -> list[Migration]:
    """Reads the files `NNNN_name.sql`, numbered from 0001 without a gap.

    Raises:
        MigrationError: for another name, a gap, or a number used twice.
    """
    migrations = []
    for position, path in enumerate(sorted(folder.glob("*.sql")), start=1):
        match = _FILE.match(path.name)
        if match is None or int(match[1]) != position:
            raise MigrationError(f"{path.name}: expected {position:04}_<name>.sql")
        text = path.read_text(encoding="utf-8")
        statements = tuple(part.strip() for part in _END_OF_STATEMENT.split(text) if part.strip())
        checksum = hashlib.sha256(text.encode()).hexdigest()
        migrations.append(Migration(position, match[2], checksum, statements))
    if not migrations:
        raise MigrationError(f"{folder}: no migrations")
    return migrations


def script(settings: ClickHouseSettings, migrations: Sequence[Migration]) -> str:
    """Returns all that `migrate` sends to an empty server, as SQL to read or to run by hand.

    Raises:
        DdlError: when a statement has no form for the cluster that the settings name.
    """
    parts = [f"{_render(_database(settings), settings)};", f"USE `{settings.database}`;"]
    parts.append(f"{_render(_LEDGER, settings)};")
    for migration in migrations:
        parts.append(f"-- {migration.version:04}_{migration.name}")
        parts += [f"{_render(statement, settings)};" for statement in migration.statements]
    return "\n\n".join(parts) + "\n"


async def migrate(settings: ClickHouseSettings, migrations: Sequence[Migration]) -> list[str]:
    """Creates the database and applies what it does not have yet.

    A statement may run twice when a run is cut off between it and its record, so each must
    be idempotent (`IF NOT EXISTS`).

    Returns:
        The names of the migrations applied now.

    Raises:
        MigrationError: when an applied file has been changed, or the database is newer.
        DdlError: when a statement has no form for the cluster that the settings name.
        ClickHouseError: when ClickHouse refuses.
    """
    server = await connect(settings.model_copy(update={"database": "default"}))
    try:
        await server.command(_render(_database(settings), settings))
    finally:
        await server.close()
    client = await connect(settings)
    try:
        return await _apply(client, settings, migrations)
    finally:
        await client.close()


def _database(settings: ClickHouseSettings) -> str:
    return f"CREATE DATABASE IF NOT EXISTS `{settings.database}`"


def _render(statement: str, settings: ClickHouseSettings) -> str:
    return for_cluster(statement, settings.cluster) if settings.cluster else statement


async def _apply(
    client: AsyncClient, settings: ClickHouseSettings, migrations: Sequence[Migration]
) -> list[str]:
    await client.command(_render(_LEDGER, settings))
    rows = (await client.query("SELECT version, checksum FROM schema_migrations FINAL")).result_rows
    applied = {int(version): _text(checksum) for version, checksum in rows}
    newest = max(applied, default=0)
    if newest > len(migrations):
        raise MigrationError(f"the database is at {newest}, the files end at {len(migrations)}")
    done = []
    for migration in migrations:
        known = applied.get(migration.version)
        if known is None:
            for statement in [_render(statement, settings) for statement in migration.statements]:
                await client.command(statement)
            record = [[migration.version, migration.name, migration.checksum.encode()]]
            columns = ["version", "name", "checksum"]
            await client.insert("schema_migrations", record, column_names=columns)
            done.append(migration.name)
        elif known != migration.checksum:
            raise MigrationError(
                f"{migration.version:04}_{migration.name} was changed after it was applied"
            )
    return done


def _text(checksum: bytes | str) -> str:
    return checksum.decode() if isinstance(checksum, bytes) else checksum


class MigrationSettings(Settings):
    """What the command reads from its environment."""

    clickhouse: ClickHouseSettings = ClickHouseSettings()


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_shared.adapters.migrations", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--print", action="store_true", dest="shown", help="send nothing")
    parser.add_argument("--cluster", metavar="NAME", help="TWINUP_CLICKHOUSE_CLUSTER")
    given = parser.parse_args()
    environ = dict(os.environ)
    if given.cluster is not None:
        environ["TWINUP_CLICKHOUSE_CLUSTER"] = given.cluster
    try:
        settings = MigrationSettings.load(environ).clickhouse
        migrations = read_migrations(given.folder)
        if given.shown:
            sys.stdout.write(script(settings, migrations))
            return
        done = asyncio.run(migrate(settings, migrations))
    except (SettingsError, MigrationError, DdlError, ClickHouseError, OSError) as error:
        sys.exit(str(error))
    sys.stdout.write(f"applied: {', '.join(done)}\n" if done else "nothing to apply\n")


if __name__ == "__main__":
    main()
