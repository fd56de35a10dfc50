"""YAML files that are checked against a model, with every mistake in one message."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Checked = TypeVar("Checked", bound=BaseModel)


def read(path: Path, model: type[Checked], error: type[ValueError]) -> Checked:
    """Reads and checks a file; an empty one is a document without a key.

    Args:
        path: of the file.
        model: what it must be.
        error: what is raised, with a message that names the file and each mistake.

    Raises:
        ValueError: as `error`, when the file cannot be read, is no YAML, or is no such model.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return model.model_validate(document or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as reason:
        raise error(f"{path}: {reason}") from reason
    except ValidationError as reason:
        mistakes = "\n".join(
            f"  {'.'.join(str(part) for part in mistake['loc'])}: {mistake['msg']}".replace(
                "Value error, ", ""
            )
            for mistake in reason.errors(include_url=False)
        )
        raise error(f"{path}:\n{mistakes}") from reason
