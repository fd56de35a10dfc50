"""Compression of bodies by the names that HTTP gives it."""

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import lz4.frame  # type: ignore[import-untyped]

from sensor_local.clickhouse import errors
from sensor_local.clickhouse.errors import ServerError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Codec(Protocol):
    """Turns chunks of one stream into chunks of another."""

    def feed(self, chunk: bytes) -> bytes:
        """Returns what can be said after this chunk."""

    def end(self) -> bytes:
        """Returns what is left; a decoder raises when the stream is cut off."""


class _Decoder:
    """Decodes gzip, deflate, lz4 and zstd streams."""

    def __init__(self, name: str) -> None:
        make: Callable[[], _Decompressor] = _DECOMPRESSORS[name]
        self._name, self._make, self._stream = name, make, make()
        self._touched = False

    def feed(self, chunk: bytes) -> bytes:
        out = []
        try:
            while chunk:
                if self._stream.eof:  # gzip and zstd allow one stream after another
                    self._stream = self._make()
                self._touched = True
                out.append(self._stream.decompress(chunk))
                chunk = self._stream.unused_data or b"" if self._stream.eof else b""
        except (zlib.error, RuntimeError, zstd.ZstdError, EOFError) as error:
            raise self._bad(str(error)) from error
        return b"".join(out)

    def end(self) -> bytes:
        if self._touched and not self._stream.eof:
            raise self._bad("the stream is cut off")
        return b""

    def _bad(self, detail: str) -> ServerError:
        return ServerError(
            errors.CANNOT_DECOMPRESS,
            f"Cannot decompress {self._name} body: {detail}. (CANNOT_DECOMPRESS)",
        )


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(15),
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
}


class _Zlib:
    def __init__(self, window: int) -> None:
        self._stream = zlib.compressobj(3, zlib.DEFLATED, window)

    def feed(self, chunk: bytes) -> bytes:
        return self._stream.compress(chunk)

    def end(self) -> bytes:
        return self._stream.flush()


class _Lz4:
    def __init__(self) -> None:
        self._stream = lz4.frame.LZ4FrameCompressor()
        self._head = self._stream.begin()

    def feed(self, chunk: bytes) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._stream.compress(chunk))

    def end(self) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._stream.flush())


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstd.ZstdCompressor(level=1)

    def feed(self, chunk: bytes) -> bytes:
        return self._stream.compress(chunk)

    def end(self) -> bytes:
        return self._stream.flush()


# In the order of preference: the cheapest first, for the other side is near.
_ENCODERS: dict[str, Callable[[], Codec]] = {
    "lz4": _Lz4,
    "zstd": _Zstd,
    "gzip": lambda: _Zlib(31),
    "deflate": lambda: _Zlib(15),
}


def decoder(content_encoding: str) -> Codec | None:
    """Returns what undoes a Content-Encoding; None when there is nothing to undo.

    Raises:
        ServerError: when the encoding is not known.
    """
    name = content_encoding.strip().lower()
    if name in {"", "identity"}:
        return None
    if name not in _DECOMPRESSORS:
        raise ServerError(
            errors.NOT_IMPLEMENTED,
            f"Unknown compression method {name}, known are "
            f"{', '.join(_DECOMPRESSORS)}. (NOT_IMPLEMENTED)",
        )
    return _Decoder(name)


def encoder(accept_encoding: str) -> tuple[str, Codec] | None:
    """Chooses the encoding of an answer by the Accept-Encoding header."""
    accepted = set()
    for item in accept_encoding.lower().split(","):
        name, _, quality = item.partition(";")
        if quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            accepted.add(name.strip())
    for name, make in _ENCODERS.items():
        if name in accepted:
            return name, make()
    return None
