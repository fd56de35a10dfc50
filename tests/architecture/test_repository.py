"""The repository as a whole: its top level, and that it names no machine and no secret."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {
    "functions", "shared", "proto", "infra", "eventing", "load", "tests", "docs", "configs",
    "pyproject.toml", "Makefile", "README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md",
    ".gitignore", ".dockerignore", "requirements.lock", ".ci",
}  # fmt: skip
NOT_OURS = re.compile(
    r"(/root/|/work/|/home/[a-z]+/|-----BEGIN [A-Z ]*PRIVATE KEY-----|--index-url|\bpypi\.org\b)"
)


def tracked() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_the_top_level_holds_only_what_it_should() -> None:
    assert {path.partition("/")[0] for path in tracked()} <= TOP_LEVEL


def test_no_file_names_a_machine_a_registry_or_a_key() -> None:
    found = []
    for name in tracked():
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        found += [f"{name}: {match[0]}" for match in NOT_OURS.finditer(text)]
    assert found == []


def test_the_lock_file_pins_every_package_by_hash() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    pinned = [entry for entry in entries if "==" in entry]
    assert len(pinned) > 50
    assert [entry.split()[0] for entry in pinned if "--hash=sha256:" not in entry] == []
