"""BACKUP and RESTORE as text."""

import re

from sensor_local.clickhouse.connection import quote, quote_name
from sensor_local.failure import StartError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_PLACE = re.compile(r"(?:File|Disk|S3|AzureBlobStorage)\([^;]*\)")


def place(given: str) -> str:
    """Returns where a backup lies, as ClickHouse writes it.

    Args:
        given: a name below the folder that the server allows for backups, or a place in
            ClickHouse's words, e.g. `S3(backups, 'twinup/2026-11-25')`.

    Raises:
        StartError: when it is neither.
    """
    if _NAME.fullmatch(given):
        return f"File({quote(given)})"
    if _PLACE.fullmatch(given):
        return given
    raise StartError(f"{given}: neither a name nor File(…), Disk(…), S3(…), AzureBlobStorage(…)")


def backup(database: str, to: str, base: str = "", cluster: str = "") -> str:
    """Returns the statement that writes a database.

    Args:
        database: its name.
        to: see `place`.
        base: an earlier backup; what that one holds is not written again.
        cluster: on all replicas of this one.
    """
    settings = f" SETTINGS base_backup = {place(base)}" if base else ""
    return f"BACKUP DATABASE {quote_name(database)}{_on(cluster)} TO {place(to)}{settings}"


def restore(database: str, into: str, source: str, cluster: str = "") -> str:
    """Returns the statement that reads a database; ClickHouse adds nothing to a table with rows.

    Args:
        database: its name in the backup.
        into: its name from now on.
        source: see `place`.
        cluster: on all replicas of this one.
    """
    name = f"{quote_name(database)} AS {quote_name(into)}"
    return f"RESTORE DATABASE {name}{_on(cluster)} FROM {place(source)}"


def _on(cluster: str) -> str:
    return f" ON CLUSTER {quote(cluster)}" if cluster else ""
