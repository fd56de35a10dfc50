"""`make bench`: measures the whole flow on this machine and compares it with its pass marks."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from load.bench.api import scenarios
from load.bench.flow import baseline, limits, machine, pace, report, steady, storage
from load.bench.flow.bed import Bed, BenchError
from load.bench.flow.holding import PARTS, WIRING
from sensor_local.failure import StartError

PIECES = ("steady", "max", "baseline", "storage", "api")
_INTERRUPTED = 130


def main() -> int:
    """Command line entry; the exit status says whether all of it ran, not whether marks are met."""
    options = _options()
    # As Ctrl-C: everything that was started is stopped on the way out.
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(width=None if sys.stdout.isatty() else 110)
    began = time.monotonic()

    def tell(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        console.print(f"[dim]{minutes:02}:{seconds:02}[/dim] {line}", highlight=False)

    failures = list[str]()
    try:
        results = _measure(options, tell, failures)
    except KeyboardInterrupt:
        console.print("stopped; nothing was written")
        return _INTERRUPTED
    console.print(report.tables(results))
    if options.output:
        report.write(results, options.output)
        console.print(f"written to {options.output}")
    for failure in failures:
        console.print(failure, style="bold red", markup=False)
    return 1 if failures else 0


def _measure(
    options: argparse.Namespace, tell: Callable[[str], None], failures: list[str]
) -> dict[str, Any]:
    """Returns what was measured; a part that fails leaves what the others have found."""
    results: dict[str, Any] = {
        "machine": machine.machine(),
        "versions": machine.versions(),
        "steady": None,
        "max": None,
        "baseline": None,
        "ratio": None,
        "bytes_per_reading": None,
        "api": None,
        "details": {},
    }

    @contextlib.contextmanager
    def part(name: str) -> Iterator[None]:
        try:
            yield
        except (BenchError, StartError) as error:
            failures.append(f"{name}: {error}")
            tell(f"{name} has failed")

    if "steady" in options.only:
        with part("steady"):
            before = pace.pace()
            tell(f"pace: {pace.words(before)}")
            results["steady"] = steady.measure(
                warm_up=options.warm_up, seconds=options.seconds, tell=tell
            )
            after = pace.pace()
            tell(f"pace: {pace.words(after)}")
            results["steady"]["pace"] = {"before": before, "after": after}
    if set(options.only) - {"steady", "api"}:
        tell("starting the consumer path")
        with part("the consumer path"), Bed(PARTS, tell) as bed:
            bed.start_dispatcher(*WIRING)
            _measure_path(bed, options, results, tell)
    if "api" in options.only:
        with part("api"):
            results["api"] = scenarios.measure(tell=tell)
    return results


def _measure_path(
    bed: Bed, options: argparse.Namespace, results: dict[str, Any], tell: Callable[[str], None]
) -> None:
    window = {"warm_up": options.hold_warm_up, "seconds": options.hold_seconds}
    rate = options.rate
    if "max" in options.only:
        found = {
            form: limits.find(bed, form, tries=options.tries, tell=tell, **window)
            for form in options.forms
        }
        results["max"] = {
            form: 0 if one.best is None else round(one.best.stored) for form, one in found.items()
        }
        results["details"]["max"] = {form: one.as_json() for form, one in found.items()}
        if "arrow" in found and found["arrow"].best:
            rate = min(rate, found["arrow"].best.asked)
    if "storage" in options.only:
        results["details"]["storage"] = storage.measure(bed, history=options.history, tell=tell)
        results["bytes_per_reading"] = results["details"]["storage"]["data_bytes_per_reading"]
    if "baseline" in options.only:
        results["baseline"], results["ratio"] = baseline.measure(bed, rate, tell=tell, **window)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PIECES, default=PIECES)
    forms = tuple(limits.MARKS)
    parser.add_argument(
        "--forms", nargs="+", choices=forms, default=forms, help="of records in max"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="window of steady")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds before it")
    parser.add_argument("--hold-seconds", type=float, default=30.0, help="window of max, baseline")
    parser.add_argument("--hold-warm-up", type=float, default=4.0, help="seconds before it")
    parser.add_argument("--tries", type=int, default=5, help="rates to try for each form")
    parser.add_argument(
        "--rate",
        type=float,
        default=limits.MARKS["arrow"],
        help="of baseline: the same in every run, so that its ratios can be compared",
    )
    parser.add_argument("--history", type=float, default=600.0, help="seconds of storage's data")
    parser.add_argument("--output", type=Path, help="the results as JSON")
    return parser.parse_args()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
