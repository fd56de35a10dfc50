"""What makes an OpenAPI document complete."""

from collections.abc import Iterator
from typing import Any

from sensor_shared.runtime.responses import PROBLEM

_LIMITED = {"200", "201", "204", "429"}
_METHODS = ("get", "post", "put", "patch", "delete")


def gaps(document: dict[str, Any]) -> list[str]:
    """Returns what a reader of the document would miss; nothing when it is complete."""
    found = [f"{ref} leads nowhere" for ref in _references(document) if not _leads(document, ref)]
    tags = {tag["name"] for tag in document.get("tags", [])}
    ids: list[str] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method.upper()} {path}"
            ids.append(operation.get("operationId", ""))
            parts = ("summary", "description", "security", "tags")
            found += [f"{where}: no {part}" for part in parts if part not in operation]
            found += [
                f"{where}: {tag} is not described" for tag in operation["tags"] if tag not in tags
            ]
            found += [f"{where}: {gap}" for gap in _gaps_of_answers(operation)]
    if len(ids) != len(set(ids)):
        found.append("an operationId is used twice")
    return found


def _gaps_of_answers(operation: dict[str, Any]) -> Iterator[str]:
    answers = operation["responses"]
    needed = {"500"}
    if operation["security"]:
        needed |= {"401", "403", "429", "503"}
    if "requestBody" in operation:
        needed |= {"400", "408", "413"}
    if operation.get("parameters"):
        needed.add("414")
    if operation.get("parameters") or "requestBody" in operation:
        needed.add("422")
    for status in sorted(needed - answers.keys()):
        yield f"{status} is not described"
    for status in sorted(_LIMITED & answers.keys() if "429" in answers else ()):
        if "RateLimit" not in answers[status].get("headers", {}):
            yield f"{status} has no RateLimit"
    yield from _gaps_of_contents(answers)


def _gaps_of_contents(answers: dict[str, Any]) -> Iterator[str]:
    for status, answer in answers.items():
        content = answer.get("content", {})
        if status == "204":
            continue
        if status.startswith("2") and not _has_schemas(content):
            yield f"{status} has no schema"
        if status.startswith("4") and list(content) != [PROBLEM]:
            yield f"{status} is no problem document"


def _has_schemas(content: dict[str, Any]) -> bool:
    return bool(content) and all(media.get("schema") for media in content.values())


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _leads(document: dict[str, Any], reference: str) -> bool:
    node: Any = document
    for name in reference.removeprefix("#/").split("/"):
        if name not in node:
            return False
        node = node[name]
    return True
