"""ClickHouse's errors: made here or read from the engine's messages, and their HTTP status."""

import re

BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
SYNTAX_ERROR = 62
UNKNOWN_SETTING = 115
READONLY = 164
TOO_MANY_SIMULTANEOUS_QUERIES = 202
QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING = 216
QUERY_IS_TOO_LARGE = 229
CANNOT_DECOMPRESS = 271
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
INVALID_SESSION_TIMEOUT = 374
AUTHENTICATION_FAILED = 516
STD_EXCEPTION = 1001

# The status that the real server gives; every other code is a 500.
_STATUS = {
    400: (
        *(6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321),
        *(376, 427, 441, 675, 676),
    ),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    411: (381,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 209, 439),
}
_STATUS_OF_CODE = {code: status for status, codes in _STATUS.items() for code in codes}

_MESSAGE = re.compile(r"Code: (\d+)\. DB::Exception: ")
_VERSION = re.compile(r" \(version [\d.]+(?: \([^)]*\))?\)\s*$")


class ServerError(Exception):
    """An error as ClickHouse tells it.

    Attributes:
        code: ClickHouse's number of it.
        message: text without the leading code and the trailing version.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that belongs to the code."""
        return _STATUS_OF_CODE.get(self.code, 500)

    def text(self, version: str) -> str:
        """Renders the body of the answer, as a server of that version does."""
        return f"Code: {self.code}. DB::Exception: {self.message} (version {version})\n"


def from_engine(error: BaseException) -> ServerError:
    """Reads code and message out of an exception of the engine's binding."""
    text = str(error)
    code, start = STD_EXCEPTION, 0
    # Wrapping layers repeat "Code: N. DB::Exception:"; the last of a leading run is the cause.
    for match in _MESSAGE.finditer(text):
        if start and match.start() != start:
            break
        code, start = int(match[1]), match.end()
    message = text[start:]
    while (stripped := _VERSION.sub("", message)) != message:
        message = stripped
    return ServerError(code, message.strip() or type(error).__name__)
