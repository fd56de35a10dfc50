"""Kafka's jars: `python -m sensor_local.jars` fetches what kafka.lock lists, and nothing else.

The lock holds the closure of `org.apache.kafka:kafka_2.13` and a logger that writes to
standard error. A jar whose SHA-256 is not the one in the lock is never used.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from jgo.maven import MavenContext

from sensor_local.checkout import KAFKA_JARS, KAFKA_LOCK

_DOWNLOADS_AT_ONCE = 6
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 30


class JarError(RuntimeError):
    """A jar could not be fetched, or is not what the lock says."""


@dataclass(frozen=True)
class Jar:
    """One Maven artifact with the SHA-256 that it must have."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """Name of the file in the folder of jars."""
        return f"{self.artifact}-{self.version}.jar"

    def is_in(self, folder: Path) -> bool:
        """Tells whether the folder holds exactly this jar."""
        path = folder / self.filename
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256


def locked(lock: Path = KAFKA_LOCK) -> list[Jar]:
    """Reads the lock: one `sha256 group:artifact:version` a line."""
    jars = []
    for line in lock.read_text(encoding="ascii").splitlines():
        sha256, coordinate = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, sha256))
    return jars


def missing(jars: list[Jar], folder: Path) -> list[Jar]:
    """Makes the folder, removes what is not locked, and returns what it does not hold yet."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {jar.filename for jar in jars}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
    return [jar for jar in jars if not jar.is_in(folder)]


def fetch(jars: list[Jar], folder: Path, context: MavenContext) -> Iterator[Jar]:
    """Fetches jars into the folder, several at once.

    Yields:
        Each jar when it is there.

    Raises:
        JarError: when one cannot be had or has another content.
    """
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        yield from pool.map(lambda jar: _fetch(jar, folder, context), jars)


def _fetch(jar: Jar, folder: Path, context: MavenContext) -> Jar:
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            fetched = component.artifact().resolve()
            break
        except Exception as error:  # jgo raises what requests raises, and RuntimeError
            if attempt == _ATTEMPTS:
                raise JarError(f"{jar.filename} could not be fetched: {error}") from error
    partial = folder / f"{jar.filename}.part"
    shutil.copyfile(fetched, partial)
    found = hashlib.sha256(partial.read_bytes()).hexdigest()
    if found != jar.sha256:
        partial.unlink()
        raise JarError(f"{jar.filename} has SHA-256 {found}, the lock says {jar.sha256}")
    partial.rename(folder / jar.filename)
    return jar


def main() -> None:
    """Command line entry."""
    jars = locked()
    wanted = missing(jars, KAFKA_JARS)
    # A cache of our own: a jar that another program left half-written elsewhere is not ours.
    with TemporaryDirectory(prefix="twinup-jars-") as cache:
        context = MavenContext(repo_cache=Path(cache), timeout=_TIMEOUT_SECONDS)
        try:
            for count, jar in enumerate(fetch(wanted, KAFKA_JARS, context), 1):
                sys.stdout.write(f"  {count:2d}/{len(wanted)} {jar.filename}\n")
                sys.stdout.flush()
        except JarError as error:
            sys.exit(f"Kafka's jars: {error}")
    sys.stdout.write(f"Kafka's {len(jars)} jars are in {KAFKA_JARS}\n")


if __name__ == "__main__":
    main()
