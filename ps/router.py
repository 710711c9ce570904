"""Which shard an id, or a dense tensor, belongs to. Part of the format: changing it moves every row.

An id falls into one of 2^16 slots; slots go to shards by jump consistent hashing (Lamping and Veach, 2014,
arXiv 1406.2294): from n shards to n + 1, only about one slot in n + 1 moves, and only to the new shard.
"""

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from ps.arrays import Int64

MAX_SHARDS: Final = 1024
SLOTS: Final = 1 << 16

Uint16 = npt.NDArray[np.uint16]


def shard_of(ids: Int64, shards: int) -> Uint16:
    """The shard, 0 to `shards` - 1, of each of `ids` `int64[n]`: `uint16[n]`."""
    if shards == 1:
        return np.zeros(len(ids), np.uint16)
    return _shard_of_slot(shards)[_slot_of(ids)]


def shard_of_name(name: str, shards: int) -> int:
    """The shard of the dense tensor `name`."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int(shard_of(np.frombuffer(digest, "<i8"), shards)[0])


def _slot_of(ids: Int64) -> npt.NDArray[np.uint64]:
    """The top 16 bits of a mix in which every bit of the id counts (the finalizer of SplitMix64)."""
    x = ids.view(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D0_49BB_1331_11EB)
    x ^= x >> np.uint64(31)
    x >>= np.uint64(48)
    return x


@lru_cache(maxsize=8)
def _shard_of_slot(shards: int) -> Uint16:
    if not 1 <= shards <= MAX_SHARDS:
        raise ValueError(f"{shards} shards: 1 to {MAX_SHARDS} are possible")
    table = _jump(np.arange(SLOTS, dtype=np.uint64), shards).astype(np.uint16)
    table.flags.writeable = False
    return table


def _jump(keys: npt.NDArray[np.uint64], buckets: int) -> Int64:
    """Jump consistent hashing of `uint64[n]`: `int64[n]`, as the paper gives it, for all keys at once."""
    bucket = np.full(len(keys), -1, np.int64)
    target = np.zeros(len(keys), np.int64)
    while (jumping := target < buckets).any():
        bucket = np.where(jumping, target, bucket)
        keys = keys * np.uint64(2862933555777941757) + np.uint64(1)
        stretch = float(1 << 31) / ((keys >> np.uint64(33)) + np.uint64(1)).astype(np.float64)
        target = np.where(jumping, ((bucket + 1) * stretch).astype(np.int64), target)
    return bucket
