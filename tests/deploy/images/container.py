"""An image's file system in a folder, and processes that see only that: containers without one.

The build stage's COPY and RUN lines are carried out as they stand, with the image's paths moved
below a folder. What is not shown so: the base image (this machine's Python stands in for it), the
user, the read-only mount and the network.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ..dockerfiles import ROOT, Stage, copied, stages  # noqa: TID252 - shared with the quick tests

_OWN_PATHS = re.compile(r"(?<![\w./-])(/(?:app|opt|var/lib/twinup))(?=[/:\s\"]|$)")
_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Image:
    """The built file system, and what its last stage says about running."""

    root: Path
    final: Stage

    def moved(self, text: str) -> str:
        """The text with the image's own paths below the folder."""
        return _OWN_PATHS.sub(lambda match: f"{self.root}{match[1]}", text)

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """What a container would have: ENV and what it is given, nothing of this process."""
        own = {name: self.moved(value) for name, value in self.final.environment().items()}
        return own | dict(given)

    def command(self, arguments: Sequence[str] = ()) -> list[str]:
        """ENTRYPOINT with the arguments, or with CMD."""
        words = self.final.last("ENTRYPOINT") + (list(arguments) or self.final.last("CMD"))
        return [self.moved(word) for word in words]

    def run(
        self, *arguments: str, environment: Mapping[str, str], status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command until it ends, which it does with this status."""
        done = subprocess.run(
            self.command(arguments),
            check=False,
            cwd=self.moved(self.final.last("WORKDIR")[0]),
            env=self.environment(environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    @contextmanager
    def running(
        self, *arguments: str, environment: Mapping[str, str], log: Path
    ) -> Iterator["Container"]:
        """Starts the entry command, waits for its readiness, and stops it as an engine does."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(arguments),
                cwd=self.moved(self.final.last("WORKDIR")[0]),
                env=self.environment(environment),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        container = Container(self, process, dict(environment), log)
        try:
            container.wait_until_ready()
            yield container
            container.stop()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def files(self) -> dict[str, float]:
        """Every file with its time: a read-only root keeps them so."""
        return {
            str(path.relative_to(self.root)): path.lstat().st_mtime
            for path in self.root.rglob("*")
            if not path.is_dir()
        }


@dataclass(frozen=True)
class Container:
    """A running entry command."""

    image: Image
    process: "subprocess.Popen[bytes]"
    given: Mapping[str, str]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.given['TWINUP_SERVER_PORT']}"

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"it ended: {self.said()}"
            try:
                if httpx.get(f"{self.url}/health/readiness", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"not ready within {_READY_SECONDS:g} s: {self.said()}")

    def health(self) -> int:
        """Exit status of HEALTHCHECK's command, run beside the process as an engine does."""
        (check,) = self.image.final.all("HEALTHCHECK")
        words = re.findall(r'"([^"]+)"', check.value.partition("CMD")[2])
        environment = self.image.environment(self.given)
        command = [self.image.moved(word) for word in words]
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=10, check=False
        )
        return done.returncode

    def program(self) -> str:
        """What the process is: a shell in between would keep signals to itself."""
        return Path(f"/proc/{self.process.pid}/cmdline").read_bytes().decode().split("\0")[0]

    def stop(self) -> None:
        """SIGTERM, as `docker stop` and Kubernetes send it."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(_STOP_SECONDS) == 0, self.said()


def build(name: str, folder: Path) -> Image:
    """Carries out an image's build stage below a folder and takes what the last stage copies."""
    build_stage, final = stages(name)
    built, root = folder / "build", folder / "image"
    scratch = Image(built, build_stage)
    for place in ("opt", "app"):
        (built / place).mkdir(parents=True)
    for source, place in copied(build_stage):
        target = Path(scratch.moved(place))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / source, target)
    # Of this process: where packages come from. Its cache is kept, which only saves time.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("HOME", "SSL_CERT_FILE")
        or name.upper().startswith("PIP_")
        or name.lower().endswith("_proxy")
    }
    environment["PATH"] = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    for step in build_stage.all("RUN"):
        done = subprocess.run(
            ["sh", "-c", scratch.moved(step.value)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    root.mkdir()
    for one in final.all("COPY"):
        _, source, place = one.words
        target = root / place.strip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        (built / source.strip("/")).rename(target)
    return Image(root, final)
