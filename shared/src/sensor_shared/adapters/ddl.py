"""One source of DDL for two forms: the files stand for one server, and are rendered for a cluster.

A cluster here is one shard of replicas that share a ClickHouse Keeper: every table becomes the
replicated form of its engine. https://clickhouse.com/docs/engines/table-engines/mergetree-family/replication
"""

import re
from typing import Final

_TARGET: Final = re.compile(
    r"\A(?P<comments>(?:--[^\n]*\n)*)"
    r"(?P<verb>CREATE DATABASE IF NOT EXISTS|CREATE TABLE IF NOT EXISTS|ALTER TABLE) "
    r"(?P<name>`\w+`|\w+)"
)
_ENGINE: Final = re.compile(
    r"^ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<arguments>[^()]*)\))?", re.MULTILINE
)
_DEDUPLICATION: Final = re.compile(r"\bnon_replicated_deduplication_window\b")
_PLACE: Final = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
"""Where the replicas of a table meet; ClickHouse fills in the macros, `shard` and `replica` from
each server's own configuration."""


class DdlError(ValueError):
    """A statement has no form for a cluster."""


def for_cluster(statement: str, cluster: str) -> str:
    """Returns a statement in its form for a cluster.

    Args:
        statement: `CREATE DATABASE`, `CREATE TABLE` (each IF NOT EXISTS) or `ALTER TABLE`, written
            for one server.
        cluster: its name in `remote_servers`; no quote or backslash in it.

    Raises:
        DdlError: for any other statement, and for an engine that has no replicated form.
    """
    target = _TARGET.search(statement)
    if target is None:
        raise DdlError(f"no form for a cluster: {statement[:80]!r}")
    rendered = f"{statement[: target.end()]} ON CLUSTER '{cluster}'{statement[target.end() :]}"
    if not target["verb"].startswith("CREATE TABLE"):
        return rendered
    rendered, engines = _ENGINE.subn(_replicated, rendered)
    if engines != 1:
        raise DdlError(
            f"no replicated form of its engine: {statement[target.start('verb') :][:80]!r}"
        )
    return _DEDUPLICATION.sub("replicated_deduplication_window", rendered)


def _replicated(engine: re.Match[str]) -> str:
    arguments = f", {engine['arguments']}" if engine["arguments"] else ""
    return f"ENGINE = Replicated{engine['engine']}({_PLACE}{arguments})"
