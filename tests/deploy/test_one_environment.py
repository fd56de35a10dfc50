"""One environment serves all processes: a section's name means the same to each that has it."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from sensor_shared.runtime.settings import Section, Settings, SettingsError

from .processes import FUNCTIONS, TOOLS, leaves

PROCESSES = {**FUNCTIONS, **TOOLS}
NEEDED = {
    "TWINUP_GRPC_TOKEN": "the token of this test",
    "TWINUP_ALERTS_TOKEN": "the token of this test",
    "TWINUP_AUTH_SIGNING_KEY_FILE": "/keys/signing.pem",
}
"""What has no default."""


def plain(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def told(kind: type[Settings]) -> dict[str, str]:
    """The environment that says every key of a process, with its default."""
    return {
        f"TWINUP_{path.replace('.', '_')}".upper(): plain(value)
        for path, value in leaves(kind.load(NEEDED))
        if value is not None
    }


def sections(kind: type[Settings]) -> Mapping[str, type[BaseModel]]:
    found = {name: field.annotation for name, field in kind.model_fields.items()}
    return {
        name: section
        for name, section in found.items()
        if isinstance(section, type) and issubclass(section, BaseModel)
    }


def shared() -> Iterator[tuple[str, type[BaseModel], type[BaseModel]]]:
    """Each section that two processes have, with its class in both."""
    for one, other in combinations(map(sections, PROCESSES.values()), 2):
        yield from ((name, one[name], other[name]) for name in one.keys() & other.keys())


@pytest.mark.parametrize("teller", PROCESSES)
@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_starts_with_every_key_of_every_other(name: str, teller: str) -> None:
    environment = NEEDED | told(PROCESSES[teller])
    if teller in FUNCTIONS:
        assert len(environment) > len(NEEDED) + 10
    PROCESSES[name].load(environment)


def test_a_section_that_two_processes_have_is_of_one_family() -> None:
    """A common base besides `Section` itself, so that a key has one meaning and one type."""
    for name, one, other in shared():
        common = set(one.__mro__) & set(other.__mro__) - set(Section.__mro__)
        assert common, f"{name}: {one} and {other}"


def test_what_a_section_has_elsewhere_is_a_key_of_it_in_some_process() -> None:
    everywhere = [pair for kind in PROCESSES.values() for pair in sections(kind).items()]
    assert any(section.elsewhere for _, section in everywhere if issubclass(section, Section))
    for name, section in everywhere:
        known = {key for other, kind in everywhere if other == name for key in kind.model_fields}
        assert getattr(section, "elsewhere", set()) <= known, name


def test_a_key_that_the_section_has_nowhere_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="TWINUP_SERVER_HSTS_SECOND:"):
        FUNCTIONS["consumer"].load({"TWINUP_SERVER_HSTS_SECOND": "1"})
