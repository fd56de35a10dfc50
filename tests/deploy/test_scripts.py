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


def test_the_quickstart_says_what_it_does_and_needs_and_takes_nothing_else() -> None:
    script = ROOT / "infra" / "knative" / "quickstart.sh"
    found = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    lines = found.stdout.splitlines()
    assert lines[0] == "quickstart.sh [--help]"
    assert any(line.startswith("Needed: ") for line in lines)
    assert not any(line.startswith(("#", "set ")) for line in lines)
    wrong = subprocess.run([script, "--hlp"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--hlp" in wrong.stderr
