"""Multipart bodies: fields too long for the query string, and tables brought along as files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from sensor_local.clickhouse import errors
from sensor_local.clickhouse.errors import ServerError


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body: its plain fields, and its files, which are tables of the query."""

    fields: dict[str, str]
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a request brings along; structure as in CREATE TABLE, data in the format."""

    name: str
    structure: str
    format: str
    data: bytes


def read_form(content_type: str, body: bytes) -> Form:
    """Reads a multipart body.

    Raises:
        ServerError: when it is none.
    """
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    message: Message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise ServerError(errors.BAD_ARGUMENTS, "The multipart form is broken. (BAD_ARGUMENTS)")
    fields, files = {}, {}
    for part in _parts(message):
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(payload, bytes):
            continue
        if part.get_filename() is None:
            fields[name] = payload.decode("utf-8", "surrogateescape")
        else:
            files[name] = payload
    return Form(fields, files)


def tables_of(
    files: Mapping[str, bytes], arguments: Mapping[str, str]
) -> tuple[list[Table], set[str]]:
    """Returns the tables, and the names of the arguments that describe them.

    Raises:
        ServerError: when the columns of a table are not described.
    """
    tables, used = [], set[str]()
    for name, data in files.items():
        structure = arguments.get(f"{name}_structure")
        if structure is None:
            types = arguments.get(f"{name}_types")
            if types is None:
                raise ServerError(
                    errors.BAD_ARGUMENTS,
                    f"Neither structure nor types of the external table '{name}' are given. "
                    "(BAD_ARGUMENTS)",
                )
            columns = enumerate(types.split(","), 1)
            structure = ", ".join(f"_{number} {of_type}" for number, of_type in columns)
        tables.append(Table(name, structure, arguments.get(f"{name}_format", "TabSeparated"), data))
        used |= {f"{name}_structure", f"{name}_types", f"{name}_format"}
    return tables, used


def _parts(message: Message) -> Iterable[Message]:
    payload = message.get_payload()
    return [part for part in payload if isinstance(part, Message)] if payload else []
