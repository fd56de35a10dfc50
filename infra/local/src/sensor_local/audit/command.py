"""The audit from the command line.

`python -m sensor_local audit` asks the system of a run folder; when that does not run, it shows
the account that the last `down` left. `python -m sensor_local.audit --ledger DIR` reads
`TWINUP_CLICKHOUSE_*` and `TWINUP_KAFKA_*` and so works against any system.

Exit status: 0 when nothing is lost or duplicated, 1 when something is, 2 when it cannot tell.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from sensor_local.audit.asking import AuditSettings, run_audit
from sensor_local.audit.result import Audit, UnknownError
from sensor_local.folder import RunFolder
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.kafka import KafkaSettings
from sensor_shared.runtime.settings import SettingsError

CANNOT_TELL = 2


def audit_system(run: RunFolder, *, as_json: bool, everything: bool = False) -> int:
    """Audits the system of a run folder and prints the account; returns the exit status.

    Args:
        run: the folder.
        as_json: one JSON object instead of one line.
        everything: all runs of the producer that the ledger holds, not only this system's.
    """
    endpoints = run.endpoints
    if endpoints is None:
        return _last(run, as_json=as_json)
    try:
        settings = _settings_of(endpoints)
        since_ms = 0 if everything else _began_ms(run)
        consumer = endpoints.get("consumer")
        found = asyncio.run(run_audit(settings, run.ledger, since_ms, consumer))
    except UnknownError as error:
        return _cannot_tell(error)
    return _print(found, as_json=as_json)


def _last(run: RunFolder, *, as_json: bool) -> int:
    text = run.account
    if text is None:
        return _cannot_tell(UnknownError("the system does not run, and has left no account"))
    found = Audit.from_json(text)
    sys.stderr.write(f"the system does not run; this is its last account, of {found.at}\n")
    return _print(found, as_json=as_json)


def _settings_of(endpoints: Mapping[str, Any]) -> AuditSettings:
    missing = [name for name in ("kafka", "clickhouse") if name not in endpoints]
    if missing:
        raise UnknownError(f"this system runs without {' and '.join(missing)}")
    address = urlsplit(endpoints["clickhouse"])
    headers = endpoints["clickhouse_headers"]
    return AuditSettings(
        clickhouse=ClickHouseSettings(
            host=address.hostname or "",
            port=address.port or 0,
            user=headers["X-ClickHouse-User"],
            password=SecretStr(headers["X-ClickHouse-Key"]),
            database=headers["X-ClickHouse-Database"],
        ),
        kafka=KafkaSettings(brokers=endpoints["kafka"]),
    )


def _began_ms(run: RunFolder) -> int:
    """When the supervisor started, before any producer of this run; epoch ms."""
    document = run.processes
    created = document and document["supervisor"]["created"]
    return int(created * 1000) if created else 0


def _print(found: Audit, *, as_json: bool) -> int:
    sys.stdout.write(f"{found.to_json() if as_json else found}\n")
    return found.status


def _cannot_tell(error: Exception) -> int:
    sys.stderr.write(f"audit: cannot tell: {error}\n")
    return CANNOT_TELL


def main(words: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="sensor_local.audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--since", type=int, default=0, help="epoch ms; earlier runs are left out")
    parser.add_argument("--consumer", metavar="URL", help="count only dead letters sent there")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of one line")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="also write the JSON there")
    options = parser.parse_args(words)
    try:
        settings = AuditSettings.load(os.environ)
        found = asyncio.run(run_audit(settings, options.ledger, options.since, options.consumer))
    except (SettingsError, UnknownError) as error:
        return _cannot_tell(error)
    if options.keep:
        options.keep.write_text(found.to_json() + "\n", encoding="utf-8")
    return _print(found, as_json=options.json)
