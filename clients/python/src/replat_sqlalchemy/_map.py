"""The map: a k-d tree of splits whose leaves are a context's partitions, with their homes.

Every key has exactly one leaf: a list has a rest, a range has a child before its first cut and one after its last, a
hash has a child for each remainder. Whatever does not satisfy this is refused when it is read, so that a lookup
cannot fail. A map never changes; what a delta brings is a new map that shares all that it did not touch.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

from ._errors import BadKey, RoutesDamaged
from ._hash import bucket
from ._keys import KeyType, KeyValue, value_from_json

REST: Final = 0
"""The place of a list's rest among its children."""
_BUCKETS_MAX: Final = 65_536
_PARTITION: Final = re.compile(r"[a-z0-9_]{1,48}\Z")


@dataclass(frozen=True, slots=True)
class Dimension:
    """One component of a context's partition key."""

    column: str
    """The column that every table of the context carries."""
    key_type: KeyType
    """Its type."""


@dataclass(frozen=True, slots=True)
class Home:
    """The database, and the schema in it, that owns a partition's rows at an epoch."""

    database: str
    """The name of a database in the project's spec."""
    schema: str
    """The schema that holds the tables there."""

    def __str__(self) -> str:
        return f"{self.database}.{self.schema}"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A partition as the map knows it."""

    partition: str
    """Its name, for its whole life."""
    home: Home
    """Where its rows are."""
    epoch: int
    """The generation of that home: completed switches, counted from 1."""


@dataclass(frozen=True, slots=True)
class ByList:
    """Children told apart by value; what is not listed goes to the child at 0."""

    places: Mapping[KeyValue, int]


@dataclass(frozen=True, slots=True)
class ByHash:
    """Children told apart by PostgreSQL's hash of the value, modulo their number."""


@dataclass(frozen=True, slots=True)
class ByRange:
    """Children told apart by ascending cut points, each the first value of the child after it."""

    cuts: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """A cut along one dimension, and what lies on its sides."""

    dimension: int
    by: ByList | ByHash | ByRange
    children: tuple[Node, ...]

    def place(self, value: KeyValue) -> int:
        """The place of the child that takes ``value``."""
        by = self.by
        if isinstance(by, ByList):
            return by.places.get(value, REST)
        if isinstance(by, ByHash):
            return bucket((value,), len(self.children))
        return bisect_right(by.cuts, value)

    def constraints(self) -> list[Constraint]:
        """What a value must satisfy to be taken by each child."""
        by, count = self.by, len(self.children)
        if isinstance(by, ByHash):
            return [Bucket(count, remainder) for remainder in range(count)]
        if isinstance(by, ByRange):
            ends = (None, *by.cuts, None)
            return [Within(lower, upper) for lower, upper in zip(ends, ends[1:], strict=False)]
        values: list[set[KeyValue]] = [set() for _ in range(count)]
        for value, place in by.places.items():
            values[place].add(value)
        listed: list[Constraint] = [OneOf(frozenset(some)) for some in values[1:]]
        return [NoneOf(frozenset(by.places)), *listed]


Node: TypeAlias = Leaf | Split


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value is one of these."""

    values: frozenset[KeyValue]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The value is none of these."""

    values: frozenset[KeyValue]


@dataclass(frozen=True, slots=True)
class Within:
    """The value lies in a half-open range; an end that is ``None`` is open."""

    lower: KeyValue | None
    upper: KeyValue | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """PostgreSQL's hash of the value leaves this remainder."""

    modulus: int
    remainder: int


Constraint: TypeAlias = OneOf | NoneOf | Within | Bucket


def admits(constraint: Constraint, value: KeyValue) -> bool:
    """Whether ``value`` is as ``constraint`` asks."""
    if isinstance(constraint, OneOf):
        return value in constraint.values
    if isinstance(constraint, NoneOf):
        return value not in constraint.values
    if isinstance(constraint, Within):
        after = constraint.lower is None or constraint.lower <= value
        return after and (constraint.upper is None or value < constraint.upper)
    return bucket((value,), constraint.modulus) == constraint.remainder


def _is_empty(constraints: Sequence[Constraint]) -> bool:
    """Whether it can be told that nothing satisfies all of these; a bucket by itself is never empty."""
    listed = [c.values for c in constraints if isinstance(c, OneOf)]
    if listed:
        return not any(all(admits(c, value) for c in constraints) for value in listed[0])
    lowers = [c.lower for c in constraints if isinstance(c, Within) and c.lower is not None]
    uppers = [c.upper for c in constraints if isinstance(c, Within) and c.upper is not None]
    return bool(lowers and uppers) and max(lowers) >= min(uppers)


class Map:
    """One version of how a context is partitioned, and where each partition lives."""

    __slots__ = ("_by_name", "context", "dimensions", "root", "version")

    def __init__(self, context: str, version: int, dimensions: tuple[Dimension, ...], root: Node) -> None:
        self.context: Final = context
        self.version: Final = version
        self.dimensions: Final = dimensions
        self.root: Final = root
        self._by_name: Final = self._check()

    def lookup(self, key: Sequence[object]) -> Leaf:
        """The leaf that holds ``key``, one value for each dimension: `KeyValue`s or what their types accept."""
        values = self._typed(key)
        if None in values:
            raise BadKey("a key has a value for each dimension, and none of them is NULL")
        node = self.root
        while isinstance(node, Split):
            value = values[node.dimension]
            assert value is not None
            node = node.children[node.place(value)]
        return node

    def lookup_partial(self, key: Sequence[object | None]) -> list[Leaf]:
        """The leaves that can hold a key of which only some values are known, in the order of the tree."""
        values = self._typed(key)
        found: list[Leaf] = []
        left = [self.root]
        while left:
            node = left.pop()
            if isinstance(node, Leaf):
                found.append(node)
                continue
            value = values[node.dimension]
            if value is None:
                left.extend(reversed(node.children))
            else:
                left.append(node.children[node.place(value)])
        return found

    def leaf(self, partition: str) -> Leaf | None:
        """The leaf with this name."""
        return self._by_name.get(partition)

    def leaves(self) -> Iterator[Leaf]:
        """All leaves, in the order of the tree; a list's rest comes before its other children."""
        return iter(self._by_name.values())

    def region(self, partition: str) -> list[tuple[Dimension, list[Constraint]]] | None:
        """What the keys of a partition satisfy, by dimension; ``None`` if the map does not have it."""

        def find(node: Node) -> list[tuple[int, Constraint]] | None:
            if isinstance(node, Leaf):
                return [] if node.partition == partition else None
            for place, child in enumerate(node.children):
                found = find(child)
                if found is not None:
                    return [(node.dimension, node.constraints()[place]), *found]
            return None

        found = find(self.root)
        if found is None:
            return None
        every = enumerate(self.dimensions)
        return [(dimension, [c for at, c in found if at == index]) for index, dimension in every]

    def _typed(self, key: Sequence[object]) -> list[KeyValue | None]:
        if len(key) != len(self.dimensions):
            raise BadKey(
                f"the key has {len(key)} values, but {self.context} is partitioned by {len(self.dimensions)}"
            )
        pairs = zip(key, self.dimensions, strict=True)
        return [None if value is None else dimension.key_type.of(value) for value, dimension in pairs]

    def _check(self) -> dict[str, Leaf]:
        if self.version < 1:
            _damaged("versions count from 1")
        if not self.dimensions:
            _damaged("there is no dimension")
        names: dict[str, Leaf] = {}
        path: list[list[Constraint]] = [[] for _ in self.dimensions]

        def check(node: Node) -> None:
            if isinstance(node, Leaf):
                if node.partition in names:
                    _damaged(f"two leaves are named {node.partition}")
                names[node.partition] = node
                return
            if not 0 <= node.dimension < len(self.dimensions):
                _damaged("a split cuts a dimension that is not there")
            _check_split(node, self.dimensions[node.dimension].key_type)
            on = path[node.dimension]
            for child, constraint in zip(node.children, node.constraints(), strict=True):
                on.append(constraint)
                # Only where a dimension is cut more than once can a child be out of every key's reach.
                if len(on) > 1 and _is_empty(on):
                    _damaged(f"no key belongs to {next(leaves_of(child)).partition}")
                check(child)
                on.pop()

        check(self.root)
        return names


def leaves_of(node: Node) -> Iterator[Leaf]:
    """All leaves of a part, in the order of the tree."""
    left = [node]
    while left:
        top = left.pop()
        if isinstance(top, Leaf):
            yield top
        else:
            left.extend(reversed(top.children))


def _check_split(split: Split, key_type: KeyType) -> None:
    by, count = split.by, len(split.children)
    if isinstance(by, ByHash):
        if not 1 <= count <= _BUCKETS_MAX:
            _damaged("a hash has no bucket, or too many")
        return
    if isinstance(by, ByList):
        values: Sequence[KeyValue] = list(by.places)
        if sorted(set(by.places.values())) != list(range(REST + 1, count)):
            _damaged("the values of a list and its children do not match")
    else:
        values = by.cuts
        if len(values) + 1 != count:
            _damaged("the cuts of a range and its children do not match")
    if not all(key_type.holds(value) for value in values):
        _damaged("a value is of another type than its dimension")
    if isinstance(by, ByRange) and any(a >= b for a, b in zip(values, values[1:], strict=False)):
        _damaged("the cuts of a range do not ascend")


def _damaged(why: str) -> NoReturn:
    raise RoutesDamaged(f"the map is damaged: {why}")


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


def read_map(document: object) -> Map:
    """The map that a JSON document writes out in full."""
    raw = fields(document, "the map", {"context": str, "version": int, "dimensions": list, "root": dict})
    return Map(
        raw["context"],
        raw["version"],
        tuple(map(_read_dimension, raw["dimensions"])),
        _read_node(raw["root"]),
    )


def _read_dimension(document: object) -> Dimension:
    raw = fields(document, "a dimension", {"column": str, "type": str})
    try:
        return Dimension(raw["column"], KeyType(raw["type"]))
    except ValueError:
        raise RoutesDamaged(f"{raw['type']!r} is no type of a dimension") from None


def read_home(document: object) -> Home:
    """A home as it is written in JSON."""
    raw = fields(document, "a home", {"database": str, "schema": str})
    return Home(raw["database"], raw["schema"])


def partition_id(text: str) -> str:
    """``text``, if it is a legal name of a partition."""
    if not _PARTITION.match(text):
        raise RoutesDamaged("a partition's name has 1 to 48 of the characters a-z, 0-9 and _")
    return text


def read_leaf(document: object) -> Leaf:
    """A leaf as it is written in JSON."""
    raw = fields(document, "a leaf", {"partition": str, "home": dict, "epoch": int})
    if raw["epoch"] < 1:
        raise RoutesDamaged("an epoch counts from 1")
    return Leaf(partition_id(raw["partition"]), read_home(raw["home"]), raw["epoch"])


def _read_node(document: object) -> Node:
    raw = fields(document, "a node", {}, {"leaf": dict, "split": dict})
    if (raw["leaf"] is None) == (raw["split"] is None):
        raise RoutesDamaged("a node is either a leaf or a split")
    if raw["leaf"] is not None:
        return read_leaf(raw["leaf"])
    split = fields(raw["split"], "a split", {"dimension": int, "by": object, "children": list})
    children = tuple(map(_read_node, split["children"]))
    return Split(split["dimension"], _read_by(split["by"]), children)


def _read_by(document: object) -> ByList | ByHash | ByRange:
    if document == "hash":
        return ByHash()
    raw = fields(document, "the kind of a split", {}, {"list": list, "range": list})
    if raw["list"] is not None and raw["range"] is None:
        return ByList(_read_places(raw["list"]))
    if raw["range"] is not None and raw["list"] is None:
        return ByRange(tuple(map(_read_value, raw["range"])))
    raise RoutesDamaged("a split is by list, by range or by hash")


def _read_places(pairs: list[object]) -> dict[KeyValue, int]:
    places: dict[KeyValue, int] = {}
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[1]) is int):
            raise RoutesDamaged("a list's entry is a value and a place")
        value = _read_value(pair[0])
        if value in places:
            raise RoutesDamaged("a value is listed twice")
        places[value] = pair[1]
    return places


def _read_value(document: object) -> KeyValue:
    try:
        return value_from_json(document)
    except BadKey as why:
        raise RoutesDamaged(f"a value of the map cannot be read: {why}") from None


def replace_leaves(node: Node, change: Callable[[Leaf], Leaf]) -> Node:
    """The same tree with some leaves exchanged; a part in which nothing changes is the same object."""
    if isinstance(node, Leaf):
        return change(node)
    children = tuple(replace_leaves(child, change) for child in node.children)
    if all(new is old for new, old in zip(children, node.children, strict=True)):
        return node
    return Split(node.dimension, node.by, children)
