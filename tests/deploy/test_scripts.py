"""Shell scripts are free of what shellcheck knows to be mistakes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted({ROOT / ".ci" / "run", *(ROOT / "infra").rglob("*.sh")})
SHELLCHECK = shutil.which("shellcheck", path=Path(sys.executable).parent)


def test_shellcheck_comes_with_the_environment() -> None:
    assert SHELLCHECK is not None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    found = subprocess.run([str(SHELLCHECK), script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_stops_at_the_first_failure_and_can_be_run(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!")
    assert "\nset -e" in text
    if script.suffix == ".sh":
        assert script.stat().st_mode & 0o111
