"""What func's host builder does: a scaffold around the function, then `pip install . --target lib`.

The packages come from a folder of wheels that is filled once for each state of the lock and Python,
each checked against its hash; pip is told so by its own variables, as it would be for `func build`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "functions" / "requirements-func.lock"
IGNORED = (".func", "tests", "__pycache__", "*.pyc")
_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "service"
version = "0.1.0"
dependencies = ["func-python", "function @ {root:uri}/f"]

[tool.hatch.metadata]
allow-direct-references = true
"""
_MAIN = """\
from func_python.http import serve
from function import new

serve(new)
"""


@dataclass(frozen=True)
class Built:
    """A function as its container holds it: a service that finds everything in `lib`."""

    python: Path
    folder: Path

    @property
    def lib(self) -> Path:
        return self.folder / "lib"

    def command(self) -> list[str]:
        return [str(self.python), str(self.folder / "service" / "main.py")]


@dataclass
class Builder:
    """Builds each function once, in a folder of its own.

    Args:
        folder: where; it can be removed afterwards.
    """

    folder: Path
    _built: dict[str, Built] = field(default_factory=dict)

    def build(self, name: str) -> Built:
        """Returns the function's build."""
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: str) -> Built:
        source = self.folder / name
        # A build sees nothing but the function's folder.
        shutil.copytree(ROOT / "functions" / name, source, ignore=shutil.ignore_patterns(*IGNORED))
        folder = source / ".func" / "builds" / "by-hash" / "0"
        (folder / "service").mkdir(parents=True)
        (folder / "service" / "__init__.py").touch()
        (folder / "service" / "main.py").write_text(_MAIN)
        (folder / "pyproject.toml").write_text(_PROJECT)
        (folder / "f").symlink_to(Path("../../../.."), target_is_directory=True)
        pip = {
            "PIP_CONSTRAINT": str(source / "vendor" / "constraints.txt"),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels()),
        }
        _run(self._python(), "-m", "pip", "install", ".", "--target", "lib", cwd=folder, **pip)
        return Built(self._python(), folder)

    def _python(self) -> Path:
        python = self.folder / "venv" / "bin" / "python"
        if not python.exists():
            _run(Path(sys.executable), "-m", "venv", str(self.folder / "venv"))
        return python


def wheels() -> Path:
    """Returns the folder with the locked wheels; fetches them if it is not there."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = Path(sys.prefix) / "share" / "kn-func" / digest
    if not folder.exists():
        partial = folder.with_name(f"{digest}.partial")
        options = ("--require-hashes", "--no-deps", "--only-binary=:all:")
        _run(
            *(Path(sys.executable), "-m", "pip", "download", *options),
            *("-r", str(LOCK), "-d", str(partial)),
        )
        partial.rename(folder)
    return folder


def _run(python: Path, *words: str, cwd: Path = ROOT, **variables: str) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables}
    done = subprocess.run(
        [str(python), *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
