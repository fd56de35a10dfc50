"""Schemas of custom resources, as strict as `kubectl apply --validate=strict` is."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

_NESTED = ("properties", "additionalProperties", "items", "allOf", "anyOf", "oneOf", "not")


@cache
def definitions(folder: Path) -> Mapping[tuple[str, str], dict[str, Any]]:
    """The schemas of the files crd-*.yaml, by apiVersion and kind."""
    found = {}
    for file in sorted(folder.glob("crd-*.yaml")):
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
        for version in spec["versions"]:
            key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            found[key] = strict(version["schema"]["openAPIV3Schema"])
    return found


def mistakes(schema: Mapping[str, Any], document: Any) -> list[str]:
    """What is wrong with a document, by path."""
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def strict(schema: Any) -> Any:
    """A custom resource's schema as plain JSON Schema in which an unknown field is a mistake."""
    plain = _closed(schema)
    for name in ("apiVersion", "kind", "metadata"):
        plain["properties"][name] = {}  # the API server checks them itself
    return plain


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            plain[key] = {name: _closed(part) for name, part in value.items()}
        elif key in _NESTED:
            plain[key] = list(map(_closed, value)) if isinstance(value, list) else _closed(value)
        else:
            plain[key] = value
    if plain.get("x-kubernetes-int-or-string"):
        plain["type"] = ["integer", "string"]
    if plain.get("nullable"):
        plain["type"] = [plain["type"], "null"]
    if "properties" in plain and not plain.get("x-kubernetes-preserve-unknown-fields"):
        plain.setdefault("additionalProperties", False)
    return plain
