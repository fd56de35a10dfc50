"""SQL text looked at just closely enough to serve it: its kind, its format, where its data begin.

Only the engine parses SQL. Here the text is cut into tokens, so that quotes and comments hide
what they hide, and a few words outside of brackets are looked for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

from sensor_local.clickhouse import errors
from sensor_local.clickhouse.errors import ServerError

_TOKEN = re.compile(
    rb"""
      (?P<space> \s+ | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ )
    | (?P<quoted> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`
                | \{\s*\w+\s*:[^{}]*\}  # a parameter
                | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> [A-Za-z_0-9][\w$]* )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_FIRST_WORD = re.compile(rb"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*([A-Za-z]+)?", re.DOTALL)
_DATA_GAP = re.compile(rb"[ \t\f]*\r?\n?")
_STREAMABLE = frozenset({b"SELECT", b"WITH"})
_READING = _STREAMABLE | {b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN"}
_INPUT = re.compile(rb"\binput\b", re.IGNORECASE)
_KILL_BY_ID = re.compile(
    rb"(\s*KILL\s+QUERY\s+WHERE\s+)query_id\s*=\s*'([^'\\]*)'(\s+(?:A?SYNC|TEST))?[\s;]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement of a request.

    Attributes:
        sql: the text for the engine; of an insert with data, without FORMAT and the data.
        keyword: its first word in capitals, empty when there is none.
        format: of the FORMAT clause; of an insert with data, how the data are written.
        data: what follows the statement, for an insert; None when it takes no data.
    """

    sql: bytes
    keyword: bytes
    format: str | None = None
    data: bytes | None = None

    @property
    def streams(self) -> bool:
        """Whether the engine can hand out the result block by block."""
        return self.keyword in _STREAMABLE

    @property
    def reads(self) -> bool:
        """Whether the statement can change nothing."""
        return self.keyword in _READING

    @property
    def changes_connection(self) -> bool:
        """Whether the statement may leave something behind in its connection."""
        return self.keyword in {b"SET", b"USE"} or (
            self.keyword in {b"CREATE", b"DROP", b"ATTACH", b"REPLACE"}
            and b"TEMPORARY" in self.sql[:4096].upper()
        )

    def killed_query(self) -> tuple[bytes, str, bytes] | None:
        """Takes `KILL QUERY WHERE query_id = '…'` apart: before, the id, after."""
        found = _KILL_BY_ID.fullmatch(self.sql)
        return (found[1], found[2].decode("utf-8", "replace"), found[3] or b"") if found else None


def parse(text: bytes) -> Statement:
    """Finds out what kind of statement the text is.

    Raises:
        ServerError: when there are several statements, or one that reads or writes a file where
            the server runs: HTTP takes neither.
    """
    found = _FIRST_WORD.match(text)
    keyword = (found[1] or b"").upper() if found else b""
    if keyword == b"INSERT":
        return _parse_insert(text)
    if b";" in text.rstrip().rstrip(b";"):
        _refuse_several(text)
    if b"outfile" in text.lower() and any(token == b"OUTFILE" for token, _ in _tokens(text)):
        _refuse_file("INTO OUTFILE")
    return Statement(text, keyword, _trailing_format(text))


def split(text: str) -> tuple[list[str], str]:
    """Cuts a script at the semicolons outside of quotes and comments.

    Returns:
        the complete statements without their semicolons, and what follows the last one.
    """
    raw = text.encode()
    statements, start = [], 0
    for match in _TOKEN.finditer(raw):
        if match[0] == b";":
            statements.append(raw[start : match.start()].decode().strip())
            start = match.end()
    return [statement for statement in statements if statement], raw[start:].decode()


def _tokens(text: bytes) -> Iterator[tuple[bytes, re.Match[bytes]]]:
    """Yields what is outside of brackets and comments: words in capitals, and where they are."""
    depth = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "space":
            continue
        token = match[0]
        if token in b"([{":
            depth += 1
        elif token in b")]}":
            depth -= 1
        elif depth == 0:
            yield (token.upper() if match.lastgroup == "word" else token), match


def _parse_insert(text: bytes) -> Statement:
    tokens = _tokens(text)
    next(tokens)
    # The name of the table may be any word, so it must not be taken for one of ours.
    for token, _ in tokens:
        if token not in {b"INTO", b"TABLE", b"FUNCTION"}:
            break
    for token, match in tokens:
        if token == b"FROM":
            _refuse_file("FROM INFILE")
        if token in {b"SELECT", b"WITH"}:
            _refuse_several(text)
            _refuse_input(text)
            return Statement(text, b"INSERT")
        if token == b"VALUES":
            return Statement(text[: match.start()], b"INSERT", "Values", text[match.end() :])
        if token == b"FORMAT":
            _, name = next(tokens, (b"", None))
            if name is None:
                raise ServerError(errors.SYNTAX_ERROR, "FORMAT has no name. (SYNTAX_ERROR)")
            gap = _DATA_GAP.match(text, name.end())
            start = gap.end() if gap else name.end()
            return Statement(
                text[: match.start()], b"INSERT", name[0].decode("ascii", "replace"), text[start:]
            )
    if re.search(rb"\(\s*(?:SELECT|WITH)\b", text, re.IGNORECASE):
        _refuse_input(text)
        return Statement(text, b"INSERT")
    return Statement(text.rstrip().rstrip(b";"), b"INSERT", "Values", b"")


def _trailing_format(text: bytes) -> str | None:
    if b"format" not in text.lower():
        return None
    before, name = b"", None
    for token, match in _tokens(text):
        if before == b"FORMAT" and match.lastgroup == "word":
            name = match[0].decode()
        before = token
    return name


def _refuse_file(clause: str) -> NoReturn:
    raise ServerError(
        errors.NOT_IMPLEMENTED, f"{clause} is not supported over HTTP. (NOT_IMPLEMENTED)"
    )


def _refuse_input(text: bytes) -> None:
    # The engine would take the data for more SQL.
    if _INPUT.search(text):
        words = [m[0].upper() for m in _TOKEN.finditer(text) if m.lastgroup != "space"]
        if (b"INPUT", b"(") in pairwise(words):
            raise ServerError(
                errors.NOT_IMPLEMENTED, "The function input is not supported. (NOT_IMPLEMENTED)"
            )


def _refuse_several(text: bytes) -> None:
    ended = False
    for match in _TOKEN.finditer(text):
        if match[0] == b";":
            ended = True
        elif ended and match.lastgroup != "space":
            raise ServerError(
                errors.SYNTAX_ERROR,
                f"Syntax error (Multi-statements are not allowed): failed at position "
                f"{match.start()}. (SYNTAX_ERROR)",
            )
