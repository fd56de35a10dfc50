"""`python -m sensor_local.notifications list|put-back`: notifications that were given up.

They are rows of the table `notifications`. It works on the server that `TWINUP_CLICKHOUSE_HOST` and
its neighbours name, else on the one that runs here; the alert service sends what is put back.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from sensor_local.command import on_clickhouse
from sensor_shared.adapters.clickhouse import ClickHouseSettings, connect

_CHOSEN: Final = (
    "state = 'failed' AND ({channel:String} = '' OR channel = {channel:String}) "
    "AND ({target:String} = '' OR target = {target:String}) "
    "AND ({id:String} = '' OR notification_id = {id:String})"
)
LIST: Final = (
    "SELECT channel, target, reason, count(), toString(min(changed_at)), toString(max(changed_at)) "  # noqa: S608
    f"FROM notifications FINAL WHERE {_CHOSEN} GROUP BY channel, target, reason "
    "ORDER BY count() DESC, channel, target, reason"
)
PUT_BACK: Final = (
    "INSERT INTO notifications SELECT * REPLACE("  # noqa: S608
    "'queued' AS state, 0 AS tries, now64(3) AS due_at, now64(3) AS updated_at, "
    "greatest(version + 1, toUInt64(toUnixTimestamp64Micro(now64(6)))) AS version) "
    f"FROM (SELECT * FROM notifications FINAL WHERE {_CHOSEN})"
)
_HEADINGS: Final = ("channel", "target", "reason", "count", "first", "last")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sensor_local.notifications", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="count them by channel, target and reason")
    listing.add_argument("--json", action="store_true")
    back = commands.add_parser("put-back", help="queue them again")
    for command in (listing, back):
        command.add_argument("--channel", default="", help="email, webhook or mqtt")
        command.add_argument("--target", default="", help="address, endpoint or topic")
        command.add_argument("--id", default="", help="of one notification")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace, settings: ClickHouseSettings, out: TextIO) -> int:
    """Does what the options say.

    Raises:
        ClickHouseError, OSError: when ClickHouse refuses or does not answer.
    """
    chosen = {name: getattr(options, name) for name in ("channel", "target", "id")}
    client = await connect(settings)
    try:
        rows = (await client.query(LIST, parameters=chosen)).result_rows
        if options.command == "list":
            _show(rows, out, as_json=options.json)
            return 0
        await client.command(PUT_BACK, parameters=chosen)
        out.write(f"{sum(int(row[3]) for row in rows)} notifications queued again\n")
    finally:
        await client.close()
    return 0


def _show(rows: Sequence[Sequence[Any]], out: TextIO, *, as_json: bool) -> None:
    if as_json:
        documents = [dict(zip(_HEADINGS, row, strict=True)) for row in rows]
        out.write(json.dumps(documents, indent=2) + "\n")
        return
    if not rows:
        out.write("no notification was given up\n")
    out.writelines(
        f"{count:>6}  {channel}  {target}  {first} to {last}  {reason}\n"
        for channel, target, reason, count, first, last in rows
    )


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
