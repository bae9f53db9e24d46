"""JSON from outside, read strictly: what is not known is refused, and no two readers see different things."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ._errors import RoutesDamaged


def parse_json(text: str | bytes, what: str) -> Any:
    """A JSON document; each name in an object only once."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as why:
        raise RoutesDamaged(f"{what} is not JSON that can be read: {type(why).__name__}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return named


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def fields(
    document: object, what: str, need: Mapping[str, type], may: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """A JSON object with exactly these fields, of these types; fields that may be missing come as ``None``."""
    if not isinstance(document, dict):
        raise RoutesDamaged(f"{what} is not an object")
    known = {**need, **(may or {})}
    for name in document:
        if name not in known:
            raise RoutesDamaged(f"{what} has a field {name!r} that this version does not know")
    for name in need:
        if name not in document:
            raise RoutesDamaged(f"{what} has no {name!r}")
    for name, kind in known.items():
        value = document.get(name)
        if value is None and name not in need:
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RoutesDamaged(f"{name!r} of {what} is not of the right type")
    return {name: document.get(name) for name in known}
