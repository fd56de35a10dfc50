"""Dockerfiles as data, and what their COPY lines would take from the repository."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "infra" / "images"
IGNORED = ROOT / ".dockerignore"


@dataclass(frozen=True)
class Instruction:
    """One instruction of a stage; its words are whole, continued lines joined."""

    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """The value in JSON form, or as the shell would split it."""
        return json.loads(self.value) if self.value.startswith("[") else shlex.split(self.value)


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        return [found for found in self.instructions if found.name == name]

    def last(self, name: str) -> list[str]:
        """Words of the last instruction of that name; none without one."""
        found = self.all(name)
        return found[-1].words if found else []

    def environment(self, arguments: Mapping[str, str] | None = None) -> dict[str, str]:
        """ENV, with the defaults of ARG or what is given for them."""
        values = {
            name: default
            for one in self.all("ARG")
            for name, _, default in [one.value.partition("=")]
        } | dict(arguments or {})
        return {
            name: re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], value)
            for one in self.all("ENV")
            for name, _, value in [word.partition("=") for word in one.words]
        }

    def pairs(self, name: str) -> dict[str, str]:
        """`name=value` words of all instructions of a name, as LABEL has them."""
        return dict(word.split("=", 1) for one in self.all(name) for word in one.words)


def parse(text: str) -> list[Stage]:
    """Stages of a Dockerfile."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, value = line.partition(" ")
        if name == "FROM":
            base, _, alias = value.partition(" AS ")
            stages.append(Stage(base, alias))
        else:
            stages[-1].instructions.append(Instruction(name, value.strip()))
    return stages


def stages(image: str) -> list[Stage]:
    """Stages of infra/images/<image>.Dockerfile."""
    return parse((IMAGES / f"{image}.Dockerfile").read_text(encoding="utf-8"))


def context() -> list[str]:
    """Files that `.dockerignore` lets through to a builder, by their path from the root."""
    rules = [
        (line.startswith("!"), _pattern(line.lstrip("!")))
        for line in IGNORED.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return [path for path in _files(ROOT) if not _ignored(path, rules)]


def copied(stage: Stage) -> Iterator[tuple[str, str]]:
    """File of the repository and place in the image, for every COPY from the context."""
    known = context()
    for one in stage.all("COPY"):
        *sources, place = [word for word in one.words if not word.startswith("--")]
        if any(word.startswith("--from=") for word in one.words):
            continue
        for source in sources:
            found = [path for path in known if path == source or path.startswith(f"{source}/")]
            if not found:
                raise FileNotFoundError(f"COPY {source}: nothing of it is in the context")
            for path in found:
                inside = path.removeprefix(source).lstrip("/")
                if not inside and not place.endswith("/"):
                    yield path, place
                else:
                    yield path, f"{place.rstrip('/')}/{inside or Path(path).name}"


def _files(folder: Path) -> Iterator[str]:
    for base, folders, names in os.walk(folder):
        # Never in the context, and large: looked into by nobody.
        folders[:] = sorted(set(folders) - {".git", ".venv", ".run", "node_modules"})
        yield from (str((Path(base) / name).relative_to(folder)) for name in sorted(names))


def _pattern(line: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*)", line.strip().strip("/"))
    regex = "".join({"**/": "(?:.*/)?", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)
    return re.compile(f"{regex}(?:/.*)?")  # a folder takes all that is in it along


def _ignored(path: str, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """The last rule that matches decides."""
    ignored = False
    for kept, pattern in rules:
        if pattern.fullmatch(path):
            ignored = not kept
    return ignored
