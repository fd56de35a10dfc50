"""The model's answers as Markdown, and their place in docs/scaling.md."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from load.capacity.costs import Measured
from load.capacity.limits import limits
from load.capacity.model import Plan, Sizing, size

BEGIN, END = "<!-- make capacity: begin -->", "<!-- make capacity: end -->"
NOT_MEASURED = (
    "There are no results of a whole run of `make bench` yet. With them, `make capacity DOC=1`"
    " writes the tables here."
)

_Row = tuple[str, Callable[[Plan, Sizing], str]]


def _pods(name: str) -> Callable[[Plan, Sizing], str]:
    return lambda _plan, sizing: number(sizing.pods[name])


_ROWS: Sequence[_Row] = (
    ("readings/s", lambda plan, _: number(plan.readings)),
    ("events/s", lambda plan, _: number(plan.events)),
    ("partitions of sensor-data", lambda _, sizing: number(sizing.partitions)),
    ("dispatching pods", _pods("dispatcher")),
    ("pods of consumer", _pods("consumer")),
    ("… inserts/s of each", lambda _, sizing: number(sizing.inserts_per_second)),
    ("pods of analytics", _pods("analytics")),
    ("pods of alerts", _pods("alerts")),
    ("pods of gateway", _pods("gateway")),
    ("pods of auth", _pods("auth")),
    ("Kafka: cores", lambda _, sizing: number(sizing.kafka_cores)),
    ("Kafka: disk", lambda _, sizing: volume(sizing.kafka_gb)),
    ("ClickHouse: cores", lambda _, sizing: number(sizing.clickhouse_cores)),
    (
        "ClickHouse: shards",
        lambda plan, sizing: f"{sizing.shards} of {plan.clickhouse_replicas} replicas",
    ),
    ("ClickHouse: disk", lambda _, sizing: volume(sizing.clickhouse_gb)),
    ("Redis: cores in use", lambda _, sizing: number(sizing.redis_used)),
    ("Redis: processes", lambda _, sizing: number(sizing.redis_processes)),
    ("Redis: data", lambda _, sizing: f"{number(sizing.redis_gib)} GiB"),
    ("network between parts", lambda _, sizing: f"{number(sizing.network_mb)} MB/s"),
    ("all cores", lambda _, sizing: number(sizing.cores)),
    ("all memory", lambda _, sizing: f"{number(sizing.memory_gib)} GiB"),
    ("all disks", lambda _, sizing: volume(sizing.storage_gb)),
    ("cost per month", lambda _, sizing: number(sizing.cost)),
    ("cost per month and device", lambda plan, sizing: f"{sizing.cost / plan.devices:.3f}"),
)


def answer(plan: Plan, devices: Sequence[float], measured: Measured) -> str:
    """Returns the tables: what each number of devices takes, and what is full first."""
    return "\n".join(_lines(plan, devices, measured)) + "\n"


def _lines(plan: Plan, devices: Sequence[float], measured: Measured) -> Iterator[str]:
    plans = [replace(plan, devices=count) for count in devices]
    sizings = [size(one, measured) for one in plans]
    found = limits(plan, measured)
    yield f"Measured on: {measured.source}."
    yield ""
    yield f"| devices, one reading every {plan.interval:g} s | " + _join(map(number, devices))
    yield "|---|" + "---:|" * len(plans)
    for name, value in _ROWS:
        pairs = zip(plans, sizings, strict=True)
        yield f"| {name} | " + _join(value(one, sizing) for one, sizing in pairs)
    full = [
        next((n for n, one in enumerate(found) if one.devices > count), None) for count in devices
    ]
    passed = (str(len(found) if n is None else n) for n in full)
    yield "| limits passed (next table) | " + _join(passed)
    yield ""
    yield "| | full first to last | at devices | what to do then |"
    yield "|---:|---|---:|---|"
    for place, limit in enumerate(found, start=1):
        yield f"| {place} | {limit.name} | {number(limit.devices)} | {limit.remedy} |"


def _join(cells: "Iterator[str] | map[str]") -> str:
    return " | ".join(cells) + " |"


def number(value: float) -> str:
    """Returns a number with two or three figures that mean something."""
    if value >= 1000:
        digits = len(f"{value:.0f}")
        return f"{round(value, 3 - digits):,.0f}"
    if value >= 100 or value == round(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def volume(gigabytes: float) -> str:
    """Returns gigabytes in a unit for people."""
    if gigabytes >= 1000:
        return f"{number(gigabytes / 1000)} TB"
    return f"{number(gigabytes)} GB"


def inside(document: str) -> str:
    """Returns what stands between the marks of a document.

    Raises:
        ValueError: when the marks are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    block, end, _ = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no marks {BEGIN} … {END} after {before[:40]!r}")
    return block.strip()


def put(document: str, block: str) -> str:
    """Returns the document with another block between its marks.

    Raises:
        ValueError: when the marks are not there.
    """
    inside(document)
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{block.strip()}\n\n{END}{tail}"
