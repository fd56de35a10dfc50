import gzip
import zlib

import lz4.frame  # type: ignore[import-untyped]
import pytest
from backports import zstd

from sensor_local.clickhouse.encoding import decoder, encoder
from sensor_local.clickhouse.errors import ServerError

TEXT = b"sensor " * 1000
ENCODED = {
    "gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "lz4": lz4.frame.compress(TEXT),
    "zstd": zstd.compress(TEXT),
}


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_body_is_decoded_however_it_is_cut(name: str, size: int) -> None:
    codec = decoder(name)
    assert codec is not None
    data = ENCODED[name]
    parts = [codec.feed(data[i : i + size]) for i in range(0, len(data), size)]
    assert b"".join(parts) + codec.end() == TEXT


@pytest.mark.parametrize("name", ENCODED)
def test_a_body_that_is_cut_off_is_an_error(name: str) -> None:
    codec = decoder(name)
    assert codec is not None
    codec.feed(ENCODED[name][:-5])
    with pytest.raises(ServerError, match="cut off"):
        codec.end()


@pytest.mark.parametrize("name", ENCODED)
def test_what_is_not_compressed_is_an_error(name: str) -> None:
    codec = decoder(name)
    assert codec is not None
    with pytest.raises(ServerError):
        _ = codec.feed(b"plain text, surely not compressed") + codec.end()


@pytest.mark.parametrize("name", ENCODED)
def test_what_is_encoded_can_be_decoded(name: str) -> None:
    chosen = encoder(f"{name}, other;q=1")
    back = decoder(name)
    assert chosen is not None
    assert back is not None
    assert chosen[0] == name
    wire = chosen[1].feed(TEXT) + chosen[1].feed(TEXT) + chosen[1].end()
    assert back.feed(wire) + back.end() == TEXT + TEXT


def test_an_encoding_that_is_refused_or_unknown_is_not_used() -> None:
    assert encoder("gzip;q=0, br") is None
    assert encoder("") is None
    assert decoder("identity") is None
    with pytest.raises(ServerError, match="brotli"):
        decoder("brotli")


def test_one_gzip_stream_after_another_is_read() -> None:
    codec = decoder("gzip")
    assert codec is not None
    assert codec.feed(gzip.compress(b"a") + gzip.compress(b"b")) + codec.end() == b"ab"
