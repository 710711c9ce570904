"""The mixing function of the native table, `ps/native/hash.h`, in plain Python."""

from typing import Final

MASK: Final = (1 << 64) - 1
GOLDEN: Final = 0x9E37_79B9_7F4A_7C15
_MULTIPLIER: Final = 0xD6E8_FEB8_6659_FD93


def mix(key: int, seed: int) -> int:
    """A bijection of 64 bits for each seed."""
    x = (key ^ seed) & MASK
    x ^= x >> 32
    x = x * _MULTIPLIER & MASK
    x ^= x >> 32
    x = x * _MULTIPLIER & MASK
    return x ^ x >> 32
