"""Completes an OpenAPI document by what follows from the form of each operation."""

from typing import Any, Final

from sensor_shared.contracts.access import FOR_MACHINES
from sensor_shared.runtime.http import problems
from sensor_shared.runtime.http.guard import API_KEY, BEARER

_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-ID": {
        "description": "The request's id: the one that was sent, if it is harmless, or a new one.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
    },
    "RateLimit-Policy": {
        "description": "The buckets that the request took from: `q` tokens when full, "
        "full again after `w` seconds (draft-ietf-httpapi-ratelimit-headers-10).",
        "schema": {"type": "string", "example": '"address";q=2000;w=5, "user";q=500;w=5'},
    },
    "RateLimit": {
        "description": "What they have left: `r` tokens, and in `t` seconds there are more.",
        "schema": {"type": "string", "example": '"address";r=1999;t=1, "user";r=499;t=1'},
    },
    "Retry-After": {
        "description": "Seconds after which it is worth trying again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "What is missing or wrong (RFC 6750).",
        "schema": {"type": "string"},
    },
}
_OF_STATUS: Final[dict[str, tuple[str, ...]]] = {
    "401": ("WWW-Authenticate",),
    "403": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Adds to each operation the errors and headers that it has, and says what is open.

    Args:
        document: as FastAPI makes it; it is changed.
    """
    components = document.setdefault("components", {})
    components["headers"] = _HEADERS
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["security"] = _security(operation.get("security", []))
            operation["responses"] = _responses(operation)
    return document


def _security(requirements: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
    """Leaves the API key out where no key can have the scopes; a token comes first."""
    found = [
        one for one in requirements if API_KEY not in one or FOR_MACHINES.issuperset(one[API_KEY])
    ]
    return sorted(found, key=lambda one: BEARER not in one)


def _responses(operation: dict[str, Any]) -> dict[str, Any]:
    has_body = "requestBody" in operation
    statuses = [500]
    statuses += [401, 403, 429, 503] if operation["security"] else []
    statuses += [400, 408, 413] if has_body else []
    statuses += [414] if operation.get("parameters") else []
    statuses += [422] if has_body or operation.get("parameters") else []
    answers: dict[str, Any] = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    for status in statuses:
        answers.setdefault(str(status), problems.described(status))
    for name, answer in answers.items():
        code = str(name)
        names = ["X-Request-ID", *_OF_STATUS.get(code, ())]
        if "429" in answers and (code.startswith("2") or code == "429"):
            names += ["RateLimit-Policy", "RateLimit"]
        headers = answer.setdefault("headers", {})
        for header in names:
            headers.setdefault(header, {"$ref": f"#/components/headers/{header}"})
    return dict(sorted(answers.items()))
