"""Configuration as a value: environment over YAML file over defaults, mistakes all at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFIX = "TWINUP_"
_FILE = "_FILE"


class SettingsError(ValueError):
    """The configuration cannot be used; the message lists every mistake with its variable."""


class Section(BaseModel):
    """Base of one section, e.g. KAFKA; its fields are the keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    elsewhere: ClassVar[frozenset[str]] = frozenset()
    """Keys that the section has in other processes alone. The environment may hold them."""


class ServerSettings(Section):
    """Section SERVER: where a process listens."""

    elsewhere: ClassVar[frozenset[str]] = frozenset({"hsts_seconds"})
    """Of the REST services."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    max_body_bytes: Annotated[int, Field(gt=0)] = 2 * 1024 * 1024
    head_seconds: Annotated[float, Field(gt=0)] = 10.0
    """That a client may take to send the head of a request; then it is answered 408."""
    body_seconds: Annotated[float, Field(gt=0)] = 30.0
    """That it may take to send the body."""
    trusted_proxies: str = ""
    """Addresses or networks, by commas, whose X-Forwarded-For is believed; nobody's by default."""


class Settings(BaseModel):
    """Base of a process's settings: every field is a `Section`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def load(cls, environ: Mapping[str, str], file: Path | None = None) -> Self:
        """Reads `TWINUP_<SECTION>_<KEY>` over the YAML file over the defaults.

        Sections that this process does not have are left to the others: one environment
        serves them all. A key that a section does not have is a mistake, in the file and in
        the environment alike; but in the environment it may be one that the section has
        `elsewhere`.

        `TWINUP_<SECTION>_<KEY>_FILE` names a file that holds the value, as container platforms
        hand out secrets: the environment of a process is seen by more eyes than its files.

        Raises:
            SettingsError: naming every mistake; values of secrets are not shown.
        """
        document, mistakes = _read(file)
        sections = {name.upper(): name for name in cls.model_fields}
        values = {
            name: dict(document.get(name) or {}) for name in document if name in cls.model_fields
        }
        mistakes += [
            f"{file}: unknown section {name!r}" for name in document if name not in cls.model_fields
        ]
        for variable, value in environ.items():
            section, _, key = variable.removeprefix(PREFIX).partition("_")
            if not variable.startswith(PREFIX) or section not in sections or not key:
                continue
            name, key = sections[section], key.lower()
            kind = cls.model_fields[name].annotation
            if _is_elsewhere(key, kind):
                continue
            plain = _kept_in_file(key, kind)
            try:
                given = value if plain is None else _read_value(variable, value, environ)
            except (OSError, ValueError) as error:
                mistakes.append(f"{variable}: {error}")
            else:
                values.setdefault(name, {})[plain or key] = given
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            mistakes += [_describe(mistake) for mistake in error.errors(include_url=False)]
        if mistakes:
            raise SettingsError("configuration:\n" + "\n".join(f"  {line}" for line in mistakes))
        return settings


def config_file(environ: Mapping[str, str], service: str) -> Path | None:
    """Returns `<service>-config.yaml` in `TWINUP_CONFIG_DIR` (default: configs), if it is there."""
    path = Path(environ.get(f"{PREFIX}CONFIG_DIR", "configs")) / f"{service}-config.yaml"
    return path if path.is_file() else None


def _kept_in_file(key: str, section: Any) -> str | None:
    """Returns the key whose value a file holds; None for a key that the section itself has."""
    fields: Mapping[str, Any] = getattr(section, "model_fields", {})
    plain = key.removesuffix(_FILE.lower())
    return plain if key not in fields and plain in fields else None


def _is_elsewhere(key: str, section: Any) -> bool:
    keys: frozenset[str] = getattr(section, "elsewhere", frozenset())
    return key.removesuffix(_FILE.lower()) in keys - section.model_fields.keys()


def _read_value(variable: str, file: str, environ: Mapping[str, str]) -> str:
    if (plain := variable.removesuffix(_FILE)) in environ:
        raise ValueError(f"{plain} is given too")
    return Path(file).read_text(encoding="utf-8").rstrip("\r\n")


def _read(file: Path | None) -> tuple[dict[str, Any], list[str]]:
    if file is None:
        return {}, []
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        return {}, [f"{file}: {error}"]
    if not isinstance(document, dict) or not all(
        isinstance(section, dict | None) for section in document.values()
    ):
        return {}, [f"{file}: must be a mapping of sections, each a mapping of keys"]
    return document, []


def _describe(mistake: Any) -> str:
    location = [str(part) for part in mistake["loc"]]
    variable = PREFIX + "_".join(location[:2]).upper()
    where = variable if len(location) <= 2 else f"{variable} ({'.'.join(location[2:])})"
    given = mistake.get("input")
    secret = any(word in variable for word in ("PASSWORD", "TOKEN", "SECRET", "KEY"))
    shown = "" if secret or isinstance(given, dict) else f" (given: {given!r})"
    return f"{where}: {mistake['msg'].removeprefix('Value error, ')}{shown}"
