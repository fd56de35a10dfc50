"""The checksum over timestamps that the ledger and ClickHouse both compute.

Each timestamp is scrambled by ClickHouse's `intHash64` and the results are added modulo 2^64: the
order does not matter, a missing, an extra and a changed timestamp show (chance to miss one 1 in
2^64), and the database's side is one built-in function.
"""

import numpy as np
import numpy.typing as npt

CHECKSUM_SQL = "sum(intHash64(toUnixTimestamp64Milli(timestamp)))"
"""The checksum of the rows of a group, in ClickHouse; UInt64, wraps like `scramble`'s sum."""

_START = np.uint64(0x4CF2D2BAAE6DA887)
_SHIFT = np.uint64(33)
_FACTORS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))


def scramble(timestamp_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Returns `intHash64` of each timestamp (epoch ms)."""
    bits = timestamp_ms.astype(np.uint64) ^ _START
    for factor in _FACTORS:
        bits = (bits ^ (bits >> _SHIFT)) * factor
    return bits ^ (bits >> _SHIFT)
