"""PostgreSQL's own hash for partition keys, bit for bit.

A hash split must put a row where ``PARTITION BY HASH`` puts it, or a router and the database would disagree on who
owns the row. This is Jenkins' lookup3 with a fixed seed, as ``satisfies_hash_partition`` uses it on a little-endian
server, for the default hash operator class of each key type and, for text, a deterministic collation in UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ._keys import KeyValue

SEED: Final = 0x7A5B_2236_7996_DCFD
"""What PostgreSQL fixes for partitioning, so that a dump restores into the same partitions."""
COMBINE: Final = 0x49A0_F4DD_15E5_A8E3
_32: Final = 0xFFFF_FFFF
_64: Final = 0xFFFF_FFFF_FFFF_FFFF


def bucket(values: Sequence[KeyValue | None], modulus: int) -> int:
    """Which of ``modulus`` hash partitions takes a row with these key columns, from 0."""
    return partition_hash(values) % modulus


def partition_hash(values: Sequence[KeyValue | None]) -> int:
    """The hash, unsigned in 64 bits, of a row's key columns in key order; ``None`` is NULL and does not count."""
    result = 0
    for value in values:
        if value is not None:
            result = _combine(result, value_hash(value))
    return result


def value_hash(value: KeyValue) -> int:
    """The extended hash of one value. The width of an integer does not matter to PostgreSQL."""
    raw = value.raw
    if isinstance(raw, bytes):
        return _hash_bytes(raw)
    if isinstance(raw, str):
        return _hash_bytes(raw.encode())
    # The halves are folded so that a number hashes like the same number in four bytes.
    high = (raw >> 32) & _32
    return _hash_u32((raw & _32) ^ (high if raw >= 0 else ~high & _32))


def _combine(a: int, b: int) -> int:
    return (a ^ (b + COMBINE + (a << 54) + (a >> 7))) & _64


def _hash_u32(word: int) -> int:
    a, b, c = _seeded(4)
    return _settle((a + word) & _32, b, c)


def _hash_bytes(data: bytes) -> int:
    a, b, c = _seeded(len(data))
    whole = len(data) - len(data) % 12
    for at in range(0, whole, 12):
        a = (a + int.from_bytes(data[at : at + 4], "little")) & _32
        b = (b + int.from_bytes(data[at + 4 : at + 8], "little")) & _32
        c = (c + int.from_bytes(data[at + 8 : at + 12], "little")) & _32
        a, b, c = _mix(a, b, c)
    a = (a + int.from_bytes(data[whole : whole + 4], "little")) & _32
    b = (b + int.from_bytes(data[whole + 4 : whole + 8], "little")) & _32
    # The lowest byte of the last word is reserved for the length, so its three bytes stand one higher.
    c = (c + (int.from_bytes(data[whole + 8 :], "little") << 8)) & _32
    return _settle(a, b, c)


def _seeded(length: int) -> tuple[int, int, int]:
    start = (0x9E37_79B9 + length + 3_923_095) & _32
    return _mix((start + (SEED >> 32)) & _32, (start + (SEED & _32)) & _32, start)


def _rot(word: int, k: int) -> int:
    return ((word << k) | (word >> (32 - k))) & _32


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a, c = (a - c & _32) ^ _rot(c, 4), c + b & _32
    b, a = (b - a & _32) ^ _rot(a, 6), a + c & _32
    c, b = (c - b & _32) ^ _rot(b, 8), b + a & _32
    a, c = (a - c & _32) ^ _rot(c, 16), c + b & _32
    b, a = (b - a & _32) ^ _rot(a, 19), a + c & _32
    c, b = (c - b & _32) ^ _rot(b, 4), b + a & _32
    return a, b, c


def _settle(a: int, b: int, c: int) -> int:
    c = (c ^ b) - _rot(b, 14) & _32
    a = (a ^ c) - _rot(c, 11) & _32
    b = (b ^ a) - _rot(a, 25) & _32
    c = (c ^ b) - _rot(b, 16) & _32
    a = (a ^ c) - _rot(c, 4) & _32
    b = (b ^ a) - _rot(a, 14) & _32
    c = (c ^ b) - _rot(b, 24) & _32
    return b << 32 | c
