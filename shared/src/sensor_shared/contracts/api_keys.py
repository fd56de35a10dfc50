"""The form of an API key: recognisable wherever it leaks, and checked before anybody is asked.

`twk_` + id (16) + `_` + secret (43) + checksum (6), all in base 62, so that a double click takes
the whole and secret scanners find it by `twk_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}`. The checksum is the
CRC-32 of what stands before it: a typing error or an invented key costs no look-up.
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "twk_"
_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LENGTH: Final = 16
_SECRET_LENGTH: Final = 43  # 62 ** 43 is just above 2 ** 256
_CHECKSUM_LENGTH: Final = 6  # 62 ** 6 is above 2 ** 32
KEY_PATTERN: Final = (
    rf"{PREFIX}[0-9A-Za-z]{{{_ID_LENGTH}}}_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}"
)
"""A regular expression for secret scanners."""
ID_PATTERN: Final = rf"^[0-9A-Za-z]{{{_ID_LENGTH}}}$"
_FORM: Final = re.compile(KEY_PATTERN, re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its holder has it; `text` is secret, `id` is not."""

    id: str
    text: str

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r})"

    @classmethod
    def make(cls) -> "ApiKey":
        """Returns a new key."""
        id_ = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
        secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
        text = f"{PREFIX}{id_}_{secret}"
        return cls(id_, text + _checksum(text))

    @classmethod
    def read(cls, text: str) -> "ApiKey | None":
        """Returns the key that a text is, None when its form or its checksum is wrong."""
        if not _FORM.fullmatch(text):
            return None
        if _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
            return None
        return cls(text[len(PREFIX) : len(PREFIX) + _ID_LENGTH], text)

    def digest(self) -> str:
        """Returns what is stored of it: SHA-256 in hexadecimal digits.

        A slow hash like argon2 protects what people choose. This secret is 256 random bits: nobody
        finds it by trying, whatever a try costs, and each request of a machine pays for the hash.
        """
        return hashlib.sha256(self.text.encode()).hexdigest()


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
