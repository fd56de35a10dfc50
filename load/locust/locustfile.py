"""What locust loads: the scenarios, and the verdict on them at the end (exit status 1: missed)."""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from load.locust.marks import Measured, Verdict, judge
from load.locust.scenarios import Attacker, Browser, Follower, Historian, Operator, Visitor
from locust import events
from locust.stats import StatsEntry

__all__ = ["Attacker", "Browser", "Follower", "Historian", "Operator", "Visitor"]


def add_options(parser: ArgumentParser) -> None:
    """Adds what a run is told beside locust's own options."""
    parser.add_argument("--auth-url", required=True, help="where auth is")
    parser.add_argument("--password-file", type=Path, required=True, help="the first admin's")
    parser.add_argument("--result", type=Path, required=True, help="JSON file that is written")


def begin(environment: Any, **_more: Any) -> None:
    """Keeps what all users share."""
    options = environment.parsed_options
    environment.began = time.monotonic()
    environment.admin_password = options.password_file.read_text(encoding="utf-8").strip()
    environment.devices = []


def conclude(environment: Any, **_more: Any) -> None:
    """Prints the verdicts, writes them, and says by the exit status whether all marks are met."""
    options = environment.parsed_options
    verdicts = judge(_measured(environment.stats))
    missed = [verdict for verdict in verdicts if verdict.missed]
    result = {
        "seconds": options.run_time,
        "users": options.num_users,
        "met": not missed,
        "marks": [verdict.as_json() for verdict in verdicts],
    }
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    Console(width=120).print(_table(verdicts))
    environment.process_exit_code = 1 if missed else 0


def _measured(stats: Any) -> dict[tuple[str, str], Measured]:
    joined: dict[tuple[str, str], StatsEntry] = {}
    for entry in stats.entries.values():  # of each name and method
        what, _, phase = entry.name.partition(" ")
        whole = joined.setdefault((what, phase), StatsEntry(stats, entry.name, ""))
        whole.extend(entry)
    return {
        key: Measured(
            requests=entry.num_requests,
            failures=entry.num_failures,
            p50=entry.get_response_time_percentile(0.5),
            p95=entry.get_response_time_percentile(0.95),
            p99=entry.get_response_time_percentile(0.99),
        )
        for key, entry in joined.items()
    }


def _table(verdicts: list[Verdict]) -> Table:
    table = Table("request", "half", title="milliseconds")
    for name in ("requests", "failed", "p50", "p95", "p99"):
        table.add_column(name, justify="right")
    table.add_column("marks")
    for verdict in verdicts:
        one = verdict.measured
        table.add_row(
            verdict.what,
            verdict.phase,
            f"{one.requests:,}",
            f"{one.failures:,}",
            *(f"{value:,.0f}" for value in (one.p50, one.p95, one.p99)),
            "; ".join(verdict.missed) or "met",
        )
    return table


events.init_command_line_parser.add_listener(add_options)
events.test_start.add_listener(begin)
events.quitting.add_listener(conclude)
