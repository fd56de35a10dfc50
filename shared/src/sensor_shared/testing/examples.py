"""Valid values for what an OpenAPI document describes, its own examples before anything else."""

from typing import Any, Final

_BY_FORMAT: Final = {
    "date-time": "2026-09-21T00:00:00Z",
    "date": "2026-09-21",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "somebody@example.com",
    "uri": "https://example.com/",
}


def example(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """Returns a value that is valid by a schema.

    Of an object it has only what is required, so that it is the least that must be accepted.

    Args:
        schema: JSON Schema 2020-12, as OpenAPI 3.1 takes it.
        document: that its `$ref` lead into.

    Raises:
        ValueError: when the document needs an example of its own there.
    """
    if "$ref" in schema:
        return example(resolved(schema["$ref"], document), document)
    for name in ("example", "const"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    if schema.get("default") is not None:
        return schema["default"]
    for name in ("allOf", "anyOf", "oneOf"):
        for choice in schema.get(name, []):
            if choice.get("type") != "null":
                return example({**choice, **_without(schema, name)}, document)
    return _by_type(schema, document)


def resolved(reference: str, document: dict[str, Any]) -> dict[str, Any]:
    """Returns what a `$ref` leads to."""
    node: Any = document
    for name in reference.removeprefix("#/").split("/"):
        node = node[name]
    found: dict[str, Any] = node
    return found


def _by_type(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {
                name: example(properties[name], document) for name in schema.get("required", [])
            }
        case "array":
            return [example(schema["items"], document)] * int(schema.get("minItems", 0))
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return False
        case "string" if "pattern" not in schema:
            text = _BY_FORMAT.get(schema.get("format", ""), "a")
            return text.ljust(int(schema.get("minLength", 0)), "a")
        case _:
            raise ValueError(f"the document needs an example here: {schema}")


def _without(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != name}
