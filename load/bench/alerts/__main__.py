"""`python -m load.bench.alerts` prints what alerts cost on this machine."""

import argparse
import asyncio
import platform
import sys
from collections.abc import Sequence

import numpy as np

from load.bench.alerts.detection import cost
from load.bench.alerts.latency import breach_to_alert
from load.bench.alerts.sweeping import sweeps
from load.bench.flow.bed import Bed

_PARTS = ("clickhouse", "redis", "kafka", "topics", "migrations", "alerts")
_PASS_MS = 100.0


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="load.bench.alerts", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="of breaches")
    parser.add_argument("--readings", type=int, default=10_000, help="stored in a second")
    parser.add_argument("--share", type=float, default=0.01, help="of them that break a rule")
    parser.add_argument("--devices", type=int, default=100_000, help="that a sweep looks at")
    given = parser.parse_args()
    say(f"{platform.platform()}, Python {platform.python_version()}")
    for rows in (60, 600, 6_000):
        say(f"test against the rules, {rows:>5} readings: {cost(rows):8.3f} µs per reading")
    say(f"the same, 1 % of 6,000 hot:            {cost(6_000, 0.01):8.3f} µs per reading")
    with Bed(_PARTS, say) as bed:
        taken = asyncio.run(
            breach_to_alert(bed, readings=given.readings, share=given.share, seconds=given.seconds)
        )
        say(f"breach to stored alert, {described(taken.stored)}  ({verdict(taken.stored)})")
        say(f"breach to alert read back, {described(taken.read)}")
        say(f"sweeps meanwhile: {', '.join(f'{ms:.0f}' for ms in taken.sweeps)} ms")
        say(f"one insert of changes or alerts: mean {insert_mean(bed):.1f} ms")
        for name, milliseconds in sweeps(bed, given.devices):
            say(f"sweep, {name}: {milliseconds:.0f} ms")


def insert_mean(bed: Bed) -> float:
    """Returns the mean milliseconds of an insert of changes or alerts."""
    scrape = bed.scrape("alerts_http")
    total, count = (scrape.total(f"db_insert_latency_ms_{of}") or 0.0 for of in ("sum", "count"))
    return total / max(count, 1.0)


def described(taken: Sequence[float]) -> str:
    """Returns the percentiles of what breaches took."""
    p50, p99, most = np.percentile(taken, [50, 99, 100]).tolist()
    return f"{len(taken):,} alerts: p50 {p50:.1f} ms  p99 {p99:.1f} ms  most {most:.1f} ms"


def verdict(taken: Sequence[float]) -> str:
    """Says whether that is good enough."""
    word = "pass" if np.percentile(taken, 99) < _PASS_MS else "fail"
    return f"{word}: p99 below {_PASS_MS:.0f} ms"


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
