"""`python -m sensor_local.backup save|restore|show`: see the commands' help.

It works on the server that `TWINUP_CLICKHOUSE_HOST` and its neighbours name, else on the one that
runs here.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TextIO

from clickhouse_connect.driver.asyncclient import AsyncClient

from sensor_local.backup import statements
from sensor_local.backup.contents import contents, lines
from sensor_local.checkout import MIGRATIONS
from sensor_local.command import on_clickhouse
from sensor_local.failure import StartError
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect
from sensor_shared.adapters.ddl import DdlError
from sensor_shared.adapters.migrations import MigrationError, migrate, read_migrations

_HOURS = 12
"""That a server may take for one statement."""
_ON_THEIR_WAY = timedelta(minutes=10)
"""How long before the newest stored reading others may have reached Kafka that are not stored yet:
those of another partition, or of an event that is being tried again."""
_NEWEST = """
SELECT max(max_time) FROM system.parts
WHERE database = {database:String} AND table = 'readings' AND active
"""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sensor_local.backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    save = commands.add_parser("save", help="write the database; the system may go on")
    save.add_argument("--to", default="", help="name, or File(…), Disk(…), S3(…)")
    save.add_argument("--base", default="", help="earlier backup, of which only the rest is added")
    restore = commands.add_parser("restore", help="read it back, then bring the schema up to date")
    restore.add_argument("--from", dest="source", required=True, help="as --to of save")
    restore.add_argument("--database", default="", help="its name in the backup, if another")
    show = commands.add_parser("show", help="only show what the database holds")
    for command in (save, restore, show):
        command.add_argument("--sums", action="store_true", help="rows and checksums of all tables")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace, settings: ClickHouseSettings, out: TextIO) -> int:
    """Does what the options say.

    Raises:
        StartError: for a place that is none, and when what was restored does not fit the
            migrations here.
        ClickHouseError, OSError: when ClickHouse refuses or does not answer.
    """
    # The database may not be there yet.
    patient = settings.model_copy(update={"database": "default", "timeout": _HOURS * 3600.0})
    client = await connect(patient)
    try:
        if options.command == "save":
            await _save(client, settings, options, out)
        elif options.command == "restore":
            await _restore(client, settings, options, out)
        if options.sums or options.command == "show":
            out.writelines(f"{line}\n" for line in lines(await contents(client, settings.database)))
    finally:
        await client.close()
    return 0


async def _save(
    client: AsyncClient, settings: ClickHouseSettings, options: argparse.Namespace, out: TextIO
) -> None:
    to = options.to or f"{settings.database}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    since = await _complete_until(client, settings.database)
    await client.command(statements.backup(settings.database, to, options.base, settings.cluster))
    out.write(
        f"saved {settings.database} to {to}; after a restore: make replay FROM={since:%FT%TZ}\n"
    )


async def _complete_until(client: AsyncClient, database: str) -> datetime:
    """Returns a moment before which nothing was sent that is not stored by now.

    A consumer that is behind has stored no new readings, so theirs count, not the clock. It may be
    earlier than it had to be: a replay changes nothing of what is there.
    """
    ((newest,),) = (await client.query(_NEWEST, parameters={"database": database})).result_rows
    since: datetime = min(datetime.now(UTC), newest.replace(tzinfo=UTC)) - _ON_THEIR_WAY
    return max(since, datetime.fromtimestamp(0, UTC))  # without any reading


async def _restore(
    client: AsyncClient, settings: ClickHouseSettings, options: argparse.Namespace, out: TextIO
) -> None:
    was = options.database or settings.database
    await client.command(
        statements.restore(was, settings.database, options.source, settings.cluster)
    )
    out.write(f"restored {settings.database} from {options.source}\n")
    try:
        done = await migrate(settings, read_migrations(MIGRATIONS))
    except (MigrationError, DdlError) as error:
        raise StartError(f"restored, but: {error}") from error
    out.write(f"applied: {', '.join(done)}\n" if done else "the schema is up to date\n")


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    out: TextIO = sys.stdout,
    err: TextIO = sys.stderr,
) -> int:
    """Command line entry; returns the exit status."""
    options = _options(arguments)
    given = os.environ if environ is None else environ
    return on_clickhouse(lambda settings: run(options, settings, out), given, err)


if __name__ == "__main__":
    sys.exit(main())
