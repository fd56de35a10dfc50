"""How the engine's blocks, each a complete document of its format, become one document.

Formats that frame all rows at once (JSON, Parquet, Pretty …) are not here: their output is made
whole by the engine before it is sent.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_ARROW_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_LINE = re.compile(rb'(?:[^"\n]|"(?:[^"]|"")*")*\n')


@dataclass(frozen=True, slots=True)
class Joint:
    """How blocks of one format are joined.

    Attributes:
        headed: a document without rows has a header too.
        head: tells how many bytes of a later block only repeat the first one's header.
        tail: what ends a document.
    """

    headed: bool = False
    head: Callable[[bytes], int] = lambda _block: 0
    tail: bytes = b""

    def first(self, block: bytes) -> bytes:
        """Returns the first of several blocks as the start of the document."""
        return block.removesuffix(self.tail)

    def continued(self, block: bytes) -> bytes:
        """Returns a later block as the continuation of the document."""
        return block[self.head(block) :].removesuffix(self.tail)

    def last(self, block: bytes) -> bytes:
        """Ends the document after this block."""
        return block + self.tail


def _csv_lines(count: int) -> Callable[[bytes], int]:
    def head(block: bytes) -> int:
        end = 0
        for _ in range(count):
            line = _LINE.match(block, end)
            end = line.end() if line else end
        return end

    return head


def _lines(count: int) -> Callable[[bytes], int]:
    def head(block: bytes) -> int:
        end = 0
        for _ in range(count):
            end = block.index(b"\n", end) + 1
        return end

    return head


def _arrow_schema(block: bytes) -> int:
    return 8 + int.from_bytes(block[4:8], "little")


_ROWS_ONLY = (
    "native rowbinary csv tabseparated tsv tabseparatedraw tsvraw raw "
    "jsoneachrow jsonlines ndjson jsoncompacteachrow jsonstringseachrow"
)
_JOINTS = {
    **dict.fromkeys(_ROWS_ONLY.split(), Joint()),
    **dict.fromkeys(("tabseparatedwithnames", "tsvwithnames"), Joint(True, _lines(1))),
    **dict.fromkeys(
        ("tabseparatedwithnamesandtypes", "tsvwithnamesandtypes"), Joint(True, _lines(2))
    ),
    "csvwithnames": Joint(True, _csv_lines(1)),
    "csvwithnamesandtypes": Joint(True, _csv_lines(2)),
    "arrowstream": Joint(True, _arrow_schema, _ARROW_END),
}


def joint(fmt: str, sql: bytes) -> Joint | None:
    """Returns how blocks of a format are joined, None when they cannot be."""
    if b"totals" in sql.lower():  # the engine would repeat them after each block
        return None
    return _JOINTS.get(fmt.lower())
