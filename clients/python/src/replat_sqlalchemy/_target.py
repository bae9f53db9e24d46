"""What callers name when they mean a partition: its name, or a key."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ._errors import BadKey
from ._keys import KeyValue
from ._map import Dimension

KeyPart: TypeAlias = "int | str | uuid.UUID | dt.date | dt.datetime | KeyValue"
"""One value of a key."""
PartitionOrKey: TypeAlias = "KeyPart | tuple[KeyPart, ...] | Mapping[str, KeyPart]"
"""A partition's name, or a key.

A ``str`` is a partition's name, or, with an equals sign, a key as command lines write it (``tenant_id=42,region=eu``).
A tuple is a key with one value for each dimension, a mapping a key by columns, and any other single value the key of a
context with one dimension. So a single text key is written ``("acme",)``: it is never guessed what a text means.
"""


def canonical(target: PartitionOrKey) -> object:
    """Equal for targets that are written alike."""
    return tuple(sorted(target.items())) if isinstance(target, Mapping) else target


def key_of(target: PartitionOrKey, dimensions: Sequence[Dimension]) -> list[KeyValue | None] | None:
    """The key that is meant, with ``None`` for what is left open; ``None`` if ``target`` is a name."""
    if isinstance(target, str):
        if "=" not in target:
            return None
        target = _picks(target)
    if isinstance(target, Mapping):
        unknown = set(target) - {dimension.column for dimension in dimensions}
        if unknown:
            raise BadKey(f"{sorted(unknown)[0]!r} is not a column of the key")
        target_of = target
        return [
            dimension.key_type.of(target_of[dimension.column]) if dimension.column in target_of else None
            for dimension in dimensions
        ]
    parts = target if isinstance(target, tuple) else (target,)
    if len(parts) != len(dimensions):
        raise BadKey(f"the key has {len(parts)} values, and {len(dimensions)} are needed")
    return [dimension.key_type.of(part) for dimension, part in zip(dimensions, parts, strict=True)]


def _picks(text: str) -> dict[str, KeyPart]:
    """``column=value`` joined by commas; a value may be in double quotes, with quotes inside doubled."""
    picks: dict[str, KeyPart] = {}
    for clause in _clauses(text):
        column, equals, value = clause.partition("=")
        column, value = column.strip(), value.strip()
        if not equals or not column or not value or column in picks:
            raise BadKey(f"{text!r} does not say which partition: it is not column=value joined by commas")
        if value.startswith('"'):
            if len(value) < 2 or not value.endswith('"') or '"' in value[1:-1].replace('""', ""):
                raise BadKey(f"{text!r} does not say which partition: a quote is not closed")
            value = value[1:-1].replace('""', '"')
        elif any(c in value for c in '[]()"'):
            raise BadKey(
                f"{text!r} does not say which partition: one value of each column is needed, not a range"
            )
        picks[column] = value
    return picks


def _clauses(text: str) -> list[str]:
    clauses, quoted = [""], False
    for c in text:
        quoted ^= c == '"'
        if c == "," and not quoted:
            clauses.append("")
        else:
            clauses[-1] += c
    return clauses
