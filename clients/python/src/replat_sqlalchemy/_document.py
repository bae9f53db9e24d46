"""How a map is written (``docs/map-format.md``): each home once, each leaf as an array of three."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from ._errors import BadKey, RoutesDamaged
from ._json import fields
from ._keys import KeyType, KeyValue, Kind
from ._map import DEPTH_MAX, ByHash, ByList, ByRange, Dimension, Home, Leaf, Map, Node, Split, damaged

FORMAT: Final = 2
_BUCKETS_MAX: Final = 1_048_576
_PARTITION: Final = re.compile(r"[a-z0-9_]{1,48}\Z")


def read_map(document: object) -> Map:
    """The map that a JSON document describes."""
    need = {"format": int, "context": str, "version": int, "dimensions": list, "homes": list, "root": object}
    raw = fields(document, "the map", need)
    if raw["format"] != FORMAT:
        raise RoutesDamaged(f"the map is of format {raw['format']}, and this version reads {FORMAT}")
    dimensions = tuple(map(_read_dimension, raw["dimensions"]))
    reader = Reader(dimensions, raw["homes"])
    root = reader.node(raw["root"])
    return Map(raw["context"], raw["version"], dimensions, root, reader.found)


def partition_id(text: object) -> str:
    """``text``, if it is a legal name of a partition."""
    if not isinstance(text, str) or not _PARTITION.match(text):
        raise RoutesDamaged("a partition's name has 1 to 48 of the characters a-z, 0-9 and _")
    return text


def read_home(document: object) -> Home:
    """A home as an object."""
    raw = fields(document, "a home", {"database": str, "schema": str})
    return Home(raw["database"], raw["schema"])


def _read_dimension(document: object) -> Dimension:
    raw = fields(document, "a dimension", {"column": str, "type": str})
    try:
        return Dimension(raw["column"], KeyType(raw["type"]))
    except ValueError:
        raise RoutesDamaged(f"{raw['type']!r} is no type of a dimension") from None


def read_value(key_type: KeyType, written: object) -> KeyValue:
    """A value of a dimension: a number where the type is one, else a text."""
    wanted = int if key_type.kind is Kind.INT else str
    if not isinstance(written, wanted) or isinstance(written, bool):
        damaged("a value is of another type than its dimension")
    try:
        return key_type.of(written)
    except BadKey as why:
        damaged(str(why))


class Reader:
    """Reads parts of a tree, and gathers their leaves."""

    def __init__(self, dimensions: Sequence[Dimension], homes: Sequence[object]) -> None:
        self._dimensions = dimensions
        self._homes = [_pair_home(home) for home in homes]
        self.found: dict[str, Leaf] = {}

    def node(self, written: object, depth: int = 0) -> Node:
        """A leaf, which is an array, or a split, which is an object."""
        if isinstance(written, list):
            leaf = self.leaf(written)
            if leaf.partition in self.found:
                damaged(f"two leaves are named {leaf.partition}")
            self.found[leaf.partition] = leaf
            return leaf.partition
        return self._split(written, depth)

    def leaf(self, written: list[Any]) -> Leaf:
        """A name, the place of its home among the homes, and its epoch."""
        if len(written) != 3 or type(written[1]) is not int or type(written[2]) is not int:
            damaged("a leaf is a name, the place of its home, and an epoch")
        name, place, epoch = written
        if not 0 <= place < len(self._homes):
            damaged("a leaf's home is not there")
        if epoch < 1:
            damaged("an epoch counts from 1")
        return Leaf(partition_id(name), self._homes[place], epoch)

    def _split(self, written: object, depth: int) -> Split:
        if depth >= DEPTH_MAX:
            damaged("its splits are nested too deep")
        need = {"split": str, "dimension": int, "children": list}
        raw = fields(written, "a split", need, {"values": list, "cuts": list, "order": list})
        if not 0 <= raw["dimension"] < len(self._dimensions):
            damaged("a split cuts a dimension that is not there")
        children = raw["children"]
        by = self._by(raw, self._dimensions[raw["dimension"]].key_type, len(children))
        return Split(raw["dimension"], by, tuple(self.node(child, depth + 1) for child in children))

    def _by(self, raw: dict[str, Any], key_type: KeyType, count: int) -> ByList | ByHash | ByRange:
        kind, given = raw["split"], {name for name in ("values", "cuts", "order") if raw[name] is not None}
        if kind == "list" and given == {"values"}:
            return _read_list(key_type, raw["values"], count)
        if kind == "hash" and not given:
            if not 1 <= count <= _BUCKETS_MAX:
                damaged("a hash has no bucket, or too many")
            return ByHash()
        if kind == "range" and given in ({"cuts"}, {"cuts", "order"}):
            cuts = tuple(read_value(key_type, cut) for cut in raw["cuts"])
            order = range(len(cuts) + 1) if raw["order"] is None else raw["order"]
            return checked_range(cuts, tuple(order), count)
        damaged("the members of a split are not those of its kind")


def _pair_home(written: object) -> Home:
    if isinstance(written, list) and len(written) == 2 and all(isinstance(part, str) for part in written):
        return Home(*written)
    damaged("a home is a database and a schema")


def _read_list(key_type: KeyType, values: list[object], count: int) -> ByList:
    if len(values) + 1 != count:
        damaged("the values of a list and its children do not match")
    places: dict[KeyValue, int] = {}
    for place, some in enumerate(values, 1):
        if not isinstance(some, list) or not some:
            damaged("a child of a list has no value")
        for one in some:
            value = read_value(key_type, one)
            if value in places:
                damaged("a value is listed twice")
            places[value] = place
    return ByList(places)


def checked_range(cuts: tuple[KeyValue, ...], order: tuple[int, ...], count: int) -> ByRange:
    """A range whose cuts ascend, and each of whose children has its place."""
    if len(cuts) + 1 != count:
        damaged("the cuts of a range and its children do not match")
    if any(a >= b for a, b in zip(cuts, cuts[1:], strict=False)):
        damaged("the cuts of a range do not ascend")
    if any(type(place) is not int for place in order) or sorted(order) != list(range(count)):
        damaged("the order of a range does not name each child once")
    return ByRange(cuts, order)
