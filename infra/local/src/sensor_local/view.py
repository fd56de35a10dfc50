"""What people see: the table of processes, the figures of the flow, where to look and log in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sensor_local.figures import Figures
from sensor_local.process import Started
from sensor_local.supervisor import State
from sensor_local.usage import Usage

_STYLES = {
    State.READY: "green",
    State.DONE: "green",
    State.PAUSING: "bold red",
    State.FAILED: "bold red",
}


def started(process: Mapping[str, Any]) -> Started | None:
    """Returns the running process of a line of `processes.json`."""
    if process["pid"] is None or process["created"] is None:
        return None
    return Started(process["pid"], process["created"])


def processes(table: Sequence[Mapping[str, Any]], usage: Mapping[Started, Usage]) -> Table:
    """Returns the table of processes; jobs that are done are left out."""
    view = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("process", "state"):
        view.add_column(column)
    for column in ("pid", "up", "restarts", "CPU", "MB"):
        view.add_column(column, justify="right")
    view.add_column("address", no_wrap=True)
    cores = megabytes = 0.0
    for process in table:
        if process["job"] and process["state"] == State.DONE:
            continue
        one = started(process)
        used = usage.get(one) if one else None
        if used:
            cores, megabytes = cores + used.cores, megabytes + used.rss_mb
        restarts = process["restarts"]
        view.add_row(
            process["name"],
            Text(process["state"], _STYLES.get(process["state"], "yellow")),
            str(one.pid) if used and one else "",
            _duration(used.seconds) if used else "",
            Text(str(restarts), "red" if restarts else "dim"),
            f"{used.cores:.2f}" if used else "",
            f"{used.rss_mb:.0f}" if used else "",
            process["url"] or (f"127.0.0.1:{process['port']}" if process["port"] else ""),
        )
    view.add_row("all", "", "", "", "", f"{cores:.2f}", f"{megabytes:.0f}", "", style="bold")
    return view


def flow(figures: Figures) -> Table:
    """Returns the figures as a table."""
    view = Table.grid(padding=(0, 3))
    view.add_row(
        f"produced [bold]{_number(figures.produced_per_second)}[/]/s",
        f"stored [bold]{_number(figures.stored_per_second)}[/]/s",
        f"lag [bold]{_number(figures.lag)}[/] records",
        f"in flight [bold]{_number(figures.in_flight)}[/]",
    )
    view.add_row(
        f"end to end p50 [bold]{_number(figures.p50_ms)}[/] ms",
        f"p99 [bold]{_number(figures.p99_ms)}[/] ms",
        f"alerts [bold]{_number(figures.alerts)}[/]",
        f"rejects [bold]{_number(figures.rejected)}[/]",
    )
    return view


def line(figures: Figures) -> str:
    """Returns the figures as one line."""
    return (
        f"produced {_number(figures.produced_per_second)}/s"
        f", stored {_number(figures.stored_per_second)}/s"
        f", p50 {_number(figures.p50_ms)} ms, p99 {_number(figures.p99_ms)} ms"
        f", lag {_number(figures.lag)}, in flight {_number(figures.in_flight)}"
        f", alerts {_number(figures.alerts)}, rejects {_number(figures.rejected)}"
    )


def how_to_log_in(endpoints: Mapping[str, Any], password_file: Path) -> list[str]:
    """Returns what a person needs to go on, one line each."""
    lines = []
    if "gateway" in endpoints:
        lines.append(f"REST API   {endpoints['gateway']}/docs")
    if "auth" in endpoints:
        lines.append(
            f"log in     POST {endpoints['auth']}/auth/login as admin, "
            f"password in {_short(password_file)}"
        )
    if "mail" in endpoints:
        lines.append(f"mails      {endpoints['mail']}")
    return lines


def live(
    table: Sequence[Mapping[str, Any]],
    usage: Mapping[Started, Usage],
    figures: Figures,
    hints: Sequence[str],
) -> RenderableType:
    """Returns the whole live view."""
    return Group(
        Panel(flow(figures), title="sensor readings", title_align="left"),
        Panel(processes(table, usage), title="processes", title_align="left"),
        *(Text(hint) for hint in hints),
        Text("Ctrl-C stops everything", "dim"),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
