"""A partition as SQL: what its rows satisfy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    Numeric,
    and_,
    cast,
    collate,
    false,
    func,
    literal,
    literal_column,
    true,
)

from ._errors import BadKey
from ._hash import COMBINE, SEED
from ._keys import KeyType, KeyValue
from ._map import Bucket, Constraint, Dimension, NoneOf, OneOf

_FUNCTIONS: Final = {
    KeyType.SMALLINT: "hashint2extended",
    KeyType.INTEGER: "hashint4extended",
    KeyType.DATE: "hashint4extended",
    KeyType.BIGINT: "hashint8extended",
    KeyType.TEXT: "hashtextextended",
    KeyType.UUID: "uuid_hash_extended",
    KeyType.TIMESTAMP: "timestamp_hash_extended",
    KeyType.TIMESTAMPTZ: "timestamp_hash_extended",
}


def clause(
    region: Sequence[tuple[Dimension, list[Constraint]]], columns: Mapping[str, ColumnElement[Any]]
) -> ColumnElement[bool]:
    """The WHERE clause of a region."""
    terms: list[ColumnElement[bool]] = [true()]
    for dimension, constraints in region:
        if not constraints:
            continue
        if dimension.column not in columns:
            raise BadKey(f"the column {dimension.column!r} of the key is needed")
        terms += [_term(columns[dimension.column], dimension.key_type, one) for one in constraints]
    return and_(*terms)


def _term(column: ColumnElement[Any], key_type: KeyType, constraint: Constraint) -> ColumnElement[bool]:
    def value(of: KeyValue) -> ColumnElement[Any]:
        # Written out as PostgreSQL writes it, since the column's own type may turn it into something else.
        text = key_type.text_of(of).replace("'", "''")
        return literal_column(f"CAST('{text}' AS {key_type.value})")

    if isinstance(constraint, OneOf):
        return column.in_([value(v) for v in sorted(constraint.values)]) if constraint.values else false()
    if isinstance(constraint, NoneOf):
        return column.not_in([value(v) for v in sorted(constraint.values)]) if constraint.values else true()
    if isinstance(constraint, Bucket):
        return _bucket(column, key_type, constraint)
    ends: list[ColumnElement[bool]] = [true()]
    if key_type is KeyType.TEXT:
        # Text is ordered by its bytes, whatever the column's collation.
        column = collate(column, "C")
    if constraint.lower is not None:
        ends.append(column >= value(constraint.lower))
    if constraint.upper is not None:
        ends.append(column < value(constraint.upper))
    return and_(*ends)


def _bucket(column: ColumnElement[Any], key_type: KeyType, bucket: Bucket) -> ColumnElement[bool]:
    """PostgreSQL's partition hash by its own functions: folded once, as an unsigned number, modulo the buckets."""
    hashed: ColumnElement[Any] = column
    if key_type is KeyType.DATE:
        # A day is hashed as its number.
        hashed = cast(column - literal_column("date '2000-01-01'"), Integer)
    elif key_type is KeyType.TIMESTAMPTZ:
        hashed = func.timezone("UTC", column)
    seed: ColumnElement[Any] = literal_column(str(SEED))
    number = cast(getattr(func, _FUNCTIONS[key_type])(hashed, seed), Numeric)
    # 2^65 is added before the remainder is taken, since mod() keeps the sign of a negative hash.
    unsigned = func.mod(number + literal_column(str(COMBINE + (1 << 65))), literal_column(str(1 << 64)))
    return func.mod(unsigned, literal(bucket.modulus)) == literal(bucket.remainder)
