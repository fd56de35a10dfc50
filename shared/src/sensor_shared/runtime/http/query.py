"""Parameters of a query that are given twice where one is meant."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel


def check_repeated(request: Request) -> None:
    """Refuses what two readers of a request could take for different things.

    FastAPI takes the last; a proxy or a log before it may have looked at the first.

    Raises:
        RequestValidationError: for a parameter of the operation that is no list and comes twice.
    """
    query: bytes = request.scope["query_string"]
    if b"&" not in query:
        return
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    times = Counter(name for name, _ in pairs)
    if len(times) == len(pairs):
        return
    single = {
        name
        for field in request.scope["route"].dependant.query_params
        for name, annotation in _parameters(field.alias, field.field_info.annotation)
        if not _is_list(annotation)
    }
    if wrong := sorted(name for name in single if times[name] > 1):
        raise RequestValidationError(
            [{"loc": ("query", name), "msg": "given more than once"} for name in wrong]
        )


def _parameters(name: str, annotation: Any) -> Iterator[tuple[str, Any]]:
    """Yields name and type of a parameter; of a model, those of each of its fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field, info in annotation.model_fields.items():
            yield info.alias or field, info.annotation
    else:
        yield name, annotation


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_is_list(one) for one in get_args(annotation))
