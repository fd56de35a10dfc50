"""`make capacity`: what a number of devices takes, from `load/results/latest.json`.

Prices are round figures for a plan, no vendor's; give your own. The formulas are in
`load/capacity/model.py` and `limits.py`, what was measured in `costs.py` and `sizes.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from load.capacity import render
from load.capacity.costs import ResultsError, read
from load.capacity.model import Plan, Prices

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "load" / "results" / "latest.json"
DOCUMENT = ROOT / "docs" / "scaling.md"
SIZES = (10_000.0, 100_000.0, 1_000_000.0, 10_000_000.0)
_LARGEST_RECORD = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        measured = read(options.results)
        plan = _plan(options)
    except (ResultsError, ValueError) as error:
        sys.stderr.write(f"capacity: {error}\n")
        return 1
    text = render.answer(plan, options.devices or SIZES, measured)
    if options.document:
        document = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(render.put(document, text), encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="capacity", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--devices", type=float, nargs="+", help="default: 10,000 to 10 million")
    parser.add_argument("--document", action="store_true", help="write into docs/scaling.md")
    for kind, prefix in ((Plan, ""), (Prices, "price-")):
        for field in fields(kind):
            if field.name not in {"devices", "prices"}:
                flag = f"--{prefix}{field.name.replace('_', '-')}"
                number = type(field.default)
                meaning = f"{field.metadata['meaning']} (%(default)s)"
                parser.add_argument(flag, type=number, default=field.default, help=meaning)
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    prices = {field.name: getattr(options, f"price_{field.name}") for field in fields(Prices)}
    given = {
        field.name: getattr(options, field.name)
        for field in fields(Plan)
        if field.name not in {"devices", "prices"}
    }
    devices = options.devices or SIZES
    if min(*devices, devices[0], *given.values()) <= 0:
        raise ValueError("devices and what is assumed must be more than nothing")
    if given["readings_per_record"] > _LARGEST_RECORD:
        raise ValueError(f"a record holds at most {_LARGEST_RECORD} readings")
    return Plan(devices=devices[0], prices=Prices(**prices), **given)


if __name__ == "__main__":
    sys.exit(main())
