"""The supervisor with small processes: order, restarts, failures, and that nothing is left."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from sensor_local.failure import StartError
from sensor_local.folder import RunFolder
from sensor_local.process import Process, Started, end
from sensor_local.readiness import Check
from sensor_local.supervisor import State, Supervisor


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.make()
    return folder


def script(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", dedent(code)


def touched(path: Path) -> Check:
    async def check() -> bool:
        return os.access(path, os.R_OK)

    return check


def supervisor(run: RunFolder, *processes: Process, said: list[str] | None = None) -> Supervisor:
    tell = said.append if said is not None else (lambda _line: None)
    return Supervisor(processes, run, os.environ, tell)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def never() -> bool:
    return False


FOREVER = "import time; time.sleep(600)"


class Journal:
    """Processes that write down their start and their end, which takes a while."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._file = folder / "journal"

    def process(self, name: str, *after: str) -> Process:
        ready = self._folder / name
        command = script(f"""
            import pathlib, signal, time
            def note(text):
                with open({str(self._file)!r}, "a") as file: file.write(text + "\\n")
            def stop(*_):
                time.sleep(0.1)
                note("{name} stopped")
                raise SystemExit
            signal.signal(signal.SIGTERM, stop)
            note("{name} started")
            pathlib.Path({str(ready)!r}).touch()
            time.sleep(600)
        """)
        return Process(name, command, ready=touched(ready), after=after)

    def lines(self) -> list[str]:
        return self._file.read_text().splitlines()


async def test_a_process_starts_when_those_before_it_are_ready_and_stops_before_them(
    run: RunFolder, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    one = supervisor(run, journal.process("above", "below"), journal.process("below"))
    await one.start()
    assert [child.state for child in one.children.values()] == [State.READY, State.READY]
    await one.stop()
    assert journal.lines() == ["below started", "above started", "above stopped", "below stopped"]


async def test_the_order_of_stopping_holds_over_a_job_that_is_done(
    run: RunFolder, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    job = Process("job", script("pass"), job=True, after=("below",))
    one = supervisor(run, journal.process("above", "job"), job, journal.process("below"))
    await one.start()
    await one.stop()
    assert journal.lines()[-2:] == ["above stopped", "below stopped"]


async def test_one_process_can_be_stopped_before_the_rest(run: RunFolder, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    one = supervisor(run, journal.process("above", "below"), journal.process("below"))
    await one.start()
    await one.stop("above")
    assert journal.lines()[-1] == "above stopped"
    assert living(one) == ["below"]
    await one.stop()
    assert living(one) == []


async def test_a_job_is_ready_when_it_has_ended(run: RunFolder, tmp_path: Path) -> None:
    done = tmp_path / "done"
    job = Process("job", script(f"open({str(done)!r}, 'w').close()"), job=True)
    after = Process("after", script(FOREVER), after=("job",))
    one = supervisor(run, job, after)
    await one.start()
    assert done.exists()
    assert one.children["job"].state == State.DONE
    await one.stop()


async def test_a_crash_in_the_start_shows_the_log_and_leaves_no_process(run: RunFolder) -> None:
    well = Process("well", script(FOREVER))
    crash = script("import sys, time; time.sleep(0.3); print('no disk left'); sys.exit(7)")
    one = supervisor(
        run, well, Process("bad", crash, ready=never), Process("last", script(FOREVER))
    )
    with pytest.raises(StartError) as failure:
        await one.start()
    assert "bad ended with status 7" in str(failure.value)
    assert "| no disk left" in str(failure.value)
    assert one.children["bad"].state == State.FAILED
    assert living(one) == []


async def test_a_job_that_fails_is_a_failed_start(run: RunFolder) -> None:
    one = supervisor(run, Process("job", script("raise SystemExit('no such table')"), job=True))
    with pytest.raises(StartError, match="no such table"):
        await one.start()


async def test_a_process_that_never_gets_ready_is_a_failed_start(run: RunFolder) -> None:
    said: list[str] = []
    slow = Process("slow", script(FOREVER), ready=never, start_seconds=0.3)
    one = supervisor(run, slow, said=said)
    with pytest.raises(StartError, match="slow was ended by SIGKILL"):
        await one.start()
    assert said == ["slow: not ready after 0.3 s"]
    assert living(one) == []


async def test_a_stop_in_the_middle_of_the_start_leaves_no_process(run: RunFolder) -> None:
    waiting = Process("waiting", script(FOREVER), ready=never)
    one = supervisor(run, waiting, Process("after", script(FOREVER), after=("waiting",)))
    start = asyncio.create_task(one.start())
    await until(lambda: one.children["waiting"].state == State.STARTING)
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    assert living(one) == []
    assert one.children["after"].started is None


async def test_what_dies_is_started_again_and_counted(run: RunFolder) -> None:
    said: list[str] = []
    one = supervisor(run, Process("mortal", script(FOREVER)), said=said)
    await one.start()
    child = one.children["mortal"]
    first = child.started
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: child.restarts == 1 and child.state == State.READY)
    assert child.started != first
    assert "mortal: was ended by SIGKILL; starting it again in 0.5 s" in said
    await one.stop()
    assert living(one) == []


async def test_what_a_dead_process_has_left_is_ended_before_it_starts_again(
    run: RunFolder, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    parent = script(f"""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open({str(pids)!r}, "a") as file: file.write(f"{{child.pid}}\\n")
        time.sleep(600)
    """)

    def written(lines: int) -> bool:
        return pids.exists() and pids.read_text().count("\n") == lines

    one = supervisor(run, Process("parent", parent))
    await one.start()
    await until(lambda: written(1))
    first = one.children["parent"].started
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: written(2))
    orphan = int(pids.read_text().split()[0])
    ended = not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie"
    assert ended
    await one.stop()


async def test_a_variable_for_one_process_alone_reaches_no_other(run: RunFolder) -> None:
    shared = {"TWINUP_ONLY_CONSUMER_LOGGER_LEVEL": "debug", "TWINUP_LOGGER_LEVEL": "warning"}
    consumer = Process("consumer", (), {"TWINUP_SERVER_PORT": "1"}).environ(shared)
    assert (consumer["TWINUP_LOGGER_LEVEL"], consumer["TWINUP_SERVER_PORT"]) == ("debug", "1")
    assert Process("gateway", ()).environ(shared)["TWINUP_LOGGER_LEVEL"] == "warning"


async def test_a_process_that_ignores_the_signal_is_killed_with_its_children(
    run: RunFolder, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    stubborn = script(f"""
        import pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        file = pathlib.Path({str(pid)!r})
        file.with_suffix(".new").write_text(str(child.pid))
        file.with_suffix(".new").rename(file)
        time.sleep(600)
    """)
    one = supervisor(run, Process("stubborn", stubborn, ready=touched(pid), stop_seconds=0.2))
    await one.start()
    grandchild = Started.of(int(pid.read_text()))
    assert grandchild is not None
    await one.stop()
    assert living(one) == []
    await until(lambda: grandchild.find() is None)


async def test_the_list_of_what_runs_is_kept_for_status(run: RunFolder) -> None:
    one = supervisor(run, Process("seen", script(FOREVER), port=1234))
    await one.start()
    document = run.processes
    assert document is not None
    assert document["supervisor"]["pid"] == os.getpid()
    (seen,) = document["processes"]
    assert (seen["name"], seen["state"], seen["port"]) == ("seen", "ready", 1234)
    assert psutil.Process(seen["pid"]).is_running()
    await one.stop()


@pytest.mark.skipif(os.nice(0) > 14, reason="there is nothing left to give way with")
async def test_a_process_gives_way_to_all_the_others(run: RunFolder) -> None:
    """In one session: what Linux shares out between sessions (autogroup) knows no nice value."""
    one = supervisor(
        run, Process("first", script(FOREVER)), Process("second", script(FOREVER), nice=5)
    )
    await one.start()
    try:
        started = [child.started for child in one.children.values()]
        pids = [process.pid for process in started if process]
        assert {os.getsid(pid) for pid in pids} == {os.getsid(0)}
        assert len({os.getpgid(pid) for pid in (*pids, os.getpid())}) == 3
        nice = [os.getpriority(os.PRIO_PROCESS, pid) for pid in pids]
        assert nice == [os.nice(0), os.nice(0) + 5]
    finally:
        await one.stop()


async def test_output_returns_what_a_command_writes(run: RunFolder) -> None:
    command = script("import os; print('one'); print(os.environ['GIVEN'])")
    assert await supervisor(run).output(*command, environment={"GIVEN": "two"}) == ["one", "two"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = f"""
        import asyncio, os, pathlib
        from sensor_local.folder import RunFolder
        from sensor_local.process import Process
        from sensor_local.supervisor import Supervisor
        async def main():
            run = RunFolder(pathlib.Path({str(tmp_path / "run")!r}))
            run.make()
            command = {script(FOREVER)!r}
            await Supervisor([Process("child", command)], run, os.environ, print).start()
            pathlib.Path({str(tmp_path / "up")!r}).touch()
            await asyncio.sleep(600)
        asyncio.run(main())
    """
    process = subprocess.Popen(script(code), stdout=subprocess.DEVNULL)
    try:
        asyncio.run(until((tmp_path / "up").exists))
        document = RunFolder(tmp_path / "run").processes
        assert document is not None
        child = Started(document["processes"][0]["pid"], document["processes"][0]["created"])
        assert child.find() is not None
    finally:
        process.kill()
        process.wait()
    asyncio.run(until(lambda: child.find() is None))


def test_only_a_process_with_the_recorded_start_time_is_ended() -> None:
    process = subprocess.Popen(script(FOREVER))
    try:
        one = Started.of(process.pid)
        assert one is not None
        assert end([Started(one.pid, one.created - 3600.0)]) == 0
        assert process.poll() is None
        assert end([one]) == 1
        assert one.find() is None
    finally:
        process.kill()
        process.wait()


def living(one: Supervisor) -> list[str]:
    return [
        child.process.name
        for child in one.children.values()
        if child.started is not None and child.started.find() is not None
    ]
