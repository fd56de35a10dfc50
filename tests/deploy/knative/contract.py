"""The secrets that a cluster must have: as the README lists them, and as development makes them."""

import importlib.util
import re
from functools import cache
from types import ModuleType

from .rendered import KNATIVE

README = KNATIVE / "README.md"
MADE_BY = KNATIVE / "overlays" / "dev" / "make_secrets.py"
_ROW = re.compile(r"^\| `(?P<name>[a-z-]+)` \| (?P<keys>`[^|]+`) \|", re.MULTILINE)

OUTSIDE = {"smtp", "webhook"}
"""What development has no use for: its mail sink asks for no login, and there are no endpoints."""
_SHAPED = {"TWINUP_WEBHOOK_SECRETS": '{"operations": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}'}


def section(heading: str) -> str:
    """The text of one section of the README."""
    _, _, after = README.read_text(encoding="utf-8").partition(f"## {heading}\n")
    assert after, f"no section {heading!r}"
    return after.partition("\n## ")[0]


@cache
def listed() -> dict[str, frozenset[str]]:
    """The keys of each secret that the README lists."""
    return {
        row["name"]: frozenset(re.findall(r"`([^`]+)`", row["keys"]))
        for row in _ROW.finditer(section("Secrets"))
    }


def script() -> ModuleType:
    """The script of the development overlay as a module."""
    spec = importlib.util.spec_from_file_location("make_secrets", MADE_BY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def fresh() -> dict[str, dict[str, str]]:
    """Secrets as the development overlay makes them."""
    made: dict[str, dict[str, str]] = script().fresh()
    return made


def values(secret: str) -> dict[str, str]:
    """Values for each key of a listed secret: those that are made, or any of its form."""
    outside = {key: _SHAPED.get(key, "a-secret-from-outside") for key in listed()[secret]}
    return fresh().get(secret, outside)
