"""The hash of keys is the server's own, and so is what it means for where a row goes."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable

import pytest
from servers import Server

from replat_sqlalchemy import KeyType
from replat_sqlalchemy._hash import bucket

COUNT = 2_000
MODULUS = 9973


def _text(rng: random.Random) -> str:
    # Lengths on both sides of the blocks of twelve bytes, and characters of one to four bytes.
    alphabet = "abcXYZ019 _-'\"\\éßЖ漢😀"
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(0, 40)))


def _moment(rng: random.Random) -> str:
    at = dt.datetime(1, 1, 1) + dt.timedelta(microseconds=rng.randrange(0, 9998 * 365 * 86_400_000_000))
    return at.isoformat(sep=" ")


CASES: dict[KeyType, Callable[[random.Random], str]] = {
    KeyType.SMALLINT: lambda rng: str(rng.randrange(-(2**15), 2**15)),
    KeyType.INTEGER: lambda rng: str(rng.randrange(-(2**31), 2**31)),
    KeyType.BIGINT: lambda rng: str(rng.randrange(-(2**63), 2**63) >> rng.randrange(0, 63)),
    KeyType.TEXT: _text,
    KeyType.UUID: lambda rng: str(uuid.UUID(int=rng.getrandbits(128))),
    KeyType.DATE: lambda rng: str(dt.date.fromordinal(rng.randrange(1, dt.date.max.toordinal()))),
    KeyType.TIMESTAMP: _moment,
    KeyType.TIMESTAMPTZ: lambda rng: _moment(rng) + rng.choice(["+00", "-03:30", "+14", "Z"]),
}


@pytest.mark.parametrize("key_type", CASES, ids=lambda t: t.value)
def test_hash_is_postgresqls(pair: list[Server], key_type: KeyType) -> None:
    rng = random.Random(f"replat {key_type.value}")
    texts = [CASES[key_type](rng) for _ in range(COUNT)]
    values = [key_type.parse(text) for text in texts]
    # Both what was read and what we write must be the same value to the server.
    written = [key_type.text_of(value) for value in values]
    with pair[0].connect("postgres") as connection:
        connection.execute(f"CREATE TEMP TABLE h (k {key_type.value}) PARTITION BY HASH (k)")  # type: ignore[arg-type]
        connection.execute("SET TimeZone = 'Asia/Kolkata'")
        connection.execute("CREATE TEMP TABLE given (n int, a text, b text)")
        with connection.cursor().copy("COPY given FROM STDIN") as copy:
            for n, row in enumerate(zip(texts, written, strict=True)):
                copy.write_row((n, *row))
        got = connection.execute(
            f"SELECT a::{key_type.value} = b::{key_type.value}, r.remainder FROM given, LATERAL ("  # type: ignore[arg-type]
            f"SELECT remainder FROM generate_series(0, 15) remainder WHERE satisfies_hash_partition("
            f"'h'::regclass, 16, remainder, b::{key_type.value})) r ORDER BY n"
        ).fetchall()
    assert len(got) == COUNT
    for text, value, (same, remainder) in zip(texts, values, got, strict=True):
        assert same, text
        assert bucket((value,), 16) == remainder, text


def test_hash_of_several_columns_and_nulls(pair: list[Server]) -> None:
    rng = random.Random(7)
    rows = [
        (rng.choice([None, rng.randrange(-(2**40), 2**40)]), rng.choice([None, _text(rng)]))
        for _ in range(500)
    ]
    with pair[0].connect("postgres") as connection:
        connection.execute("CREATE TEMP TABLE h2 (a bigint, b text) PARTITION BY HASH (a, b)")
        for a, b in rows:
            parts = (
                None if a is None else KeyType.BIGINT.of(a),
                None if b is None else KeyType.TEXT.of(b),
            )
            row = connection.execute(
                "SELECT satisfies_hash_partition('h2'::regclass, 9973, %s, %s::bigint, %s::text)",
                (bucket(parts, MODULUS), a, b),
            ).fetchone()
            assert row == (True,), (a, b)
