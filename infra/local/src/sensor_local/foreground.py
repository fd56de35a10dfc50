"""`run`: the system in the foreground, with a live view, until Ctrl-C."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.live import Live

from sensor_local import view
from sensor_local.daemon import supervise
from sensor_local.figures import FiguresMeter
from sensor_local.folder import RunFolder
from sensor_local.session import Session
from sensor_local.usage import UsageMeter

_SECONDS = 1.0


async def run(
    folder: RunFolder, environ: Mapping[str, str], only: Sequence[str], console: Console
) -> int:
    """Runs the system until SIGINT, SIGTERM or SIGHUP; returns the exit status."""
    session = Session(
        folder,
        environ,
        only,
        tell=lambda text: console.print(text, highlight=False, soft_wrap=True),
    )
    watching: list[asyncio.Task[None]] = []

    def ready() -> None:
        hints = view.how_to_log_in(folder.endpoints or {}, folder.path / "admin-password")
        show = _show_live if console.is_terminal else _show_lines
        watching.append(asyncio.create_task(show(session, folder, hints, console)))

    try:
        return await supervise(session, ready)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


async def _show_live(
    session: Session, folder: RunFolder, hints: list[str], console: Console
) -> None:
    figures, usage = FiguresMeter(session.ports), UsageMeter()
    with Live(console=console, auto_refresh=False) as display:
        while not session.stopping.is_set():
            table = (folder.processes or {"processes": []})["processes"]
            running = [one for process in table if (one := view.started(process))]
            picture = view.live(table, usage.sample(running), await figures.read(), hints)
            display.update(picture, refresh=True)
            await _pause(session)


async def _show_lines(
    session: Session, _folder: RunFolder, hints: list[str], console: Console
) -> None:
    for hint in hints:
        console.print(hint, highlight=False, soft_wrap=True)
    figures = FiguresMeter(session.ports)
    await figures.read()
    while not session.stopping.is_set():
        await _pause(session)
        console.print(view.line(await figures.read()), highlight=False, soft_wrap=True)


async def _pause(session: Session) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(session.stopping.wait(), _SECONDS)
