"""The map: a k-d tree of splits whose leaves are a context's partitions, with their homes.

Every key has exactly one leaf: a list has a rest, a range has a child before its first cut and one after its last, a
hash has a child for each remainder. Whatever does not satisfy this is refused when it is read, so that a lookup
cannot fail. A map never changes; what a delta brings is a new map that shares all that it did not touch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final, NoReturn, TypeAlias

from ._errors import BadKey, RoutesDamaged
from ._hash import bucket
from ._keys import KeyType, KeyValue

REST: Final = 0
"""The place of a list's rest among its children."""
DEPTH_MAX: Final = 32
"""The most splits on the way to a leaf."""


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
    """Children told apart by ascending cut points, each the first value of a child."""

    cuts: tuple[KeyValue, ...]
    order: tuple[int, ...]
    """The places of the children in the order of their keys; one more than there are cuts."""


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
        return by.order[bisect_right(by.cuts, value)]

    def in_order(self) -> Sequence[Node]:
        """The children: of a range in the order of their keys."""
        if isinstance(self.by, ByRange):
            return [self.children[place] for place in self.by.order]
        return self.children

    def constraints(self) -> list[Constraint]:
        """What a value must satisfy to be taken by each child."""
        by, count = self.by, len(self.children)
        if isinstance(by, ByHash):
            return [Bucket(count, remainder) for remainder in range(count)]
        if isinstance(by, ByRange):
            ends = (None, *by.cuts, None)
            sides = zip(by.order, ends, ends[1:], strict=False)
            by_place = {place: Within(lower, upper) for place, lower, upper in sides}
            return [by_place[place] for place in range(count)]
        values: list[set[KeyValue]] = [set() for _ in range(count)]
        for value, place in by.places.items():
            values[place].add(value)
        listed: list[Constraint] = [OneOf(frozenset(some)) for some in values[1:]]
        return [NoneOf(frozenset(by.places)), *listed]


Node: TypeAlias = "str | Split"
"""A partition's name, or a cut. Where partitions live is not in the tree, so that a switch does not change it."""


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
    if lowers and uppers and max(lowers) >= min(uppers):
        return True
    buckets = [c for c in constraints if isinstance(c, Bucket)]
    return any(_clash(a, b) for n, a in enumerate(buckets) for b in buckets[:n])


def _clash(a: Bucket, b: Bucket) -> bool:
    """Whether no number has both remainders: they differ modulo what the moduli have in common."""
    common = gcd(a.modulus, b.modulus)
    return a.remainder % common != b.remainder % common


class Map:
    """One version of how a context is partitioned, and where each partition lives."""

    __slots__ = ("_leaves", "context", "dimensions", "root", "version")

    def __init__(
        self,
        context: str,
        version: int,
        dimensions: tuple[Dimension, ...],
        root: Node,
        leaves: Mapping[str, Leaf],
        *,
        checked: bool = False,
    ) -> None:
        """``leaves`` are those of the tree, by name. Unless it is ``checked``, all that is wrong is looked for."""
        self.context: Final = context
        self.version: Final = version
        self.dimensions: Final = dimensions
        self.root: Final = root
        self._leaves: Final = leaves
        if not checked:
            if version < 1:
                damaged("versions count from 1")
            if not dimensions:
                damaged("there is no dimension")
            self.check_below(())

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
        return self._leaves[node]

    def lookup_partial(self, key: Sequence[object | None]) -> list[Leaf]:
        """The leaves that can hold a key of which only some values are known, in the order of the tree."""
        values = self._typed(key)
        found: list[Leaf] = []
        left = [self.root]
        while left:
            node = left.pop()
            if isinstance(node, str):
                found.append(self._leaves[node])
                continue
            value = values[node.dimension]
            if value is None:
                left.extend(reversed(node.in_order()))
            else:
                left.append(node.children[node.place(value)])
        return found

    def leaf(self, partition: str) -> Leaf | None:
        """The leaf with this name."""
        return self._leaves.get(partition)

    def by_name(self) -> Mapping[str, Leaf]:
        """All leaves by name, in no order."""
        return self._leaves

    def leaves(self) -> Iterator[Leaf]:
        """All leaves, in the order of the tree; a list's rest comes before its other children."""
        return (self._leaves[name] for name in names_of(self.root))

    def region(self, partition: str) -> list[tuple[Dimension, list[Constraint]]] | None:
        """What the keys of a partition satisfy, by dimension; ``None`` if the map does not have it."""

        def find(node: Node) -> list[tuple[int, Constraint]] | None:
            if isinstance(node, str):
                return [] if node == partition else None
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

    def check_below(self, path: Sequence[int]) -> None:
        """Whether some key comes to each leaf below a path."""
        left: list[list[Constraint]] = [[] for _ in self.dimensions]
        node = self.root
        for place in path:
            if isinstance(node, str) or not 0 <= place < len(node.children):
                damaged("there is nothing at a path")
            left[node.dimension].append(node.constraints()[place])
            node = node.children[place]
        if any(len(constraints) > 1 and _is_empty(constraints) for constraints in left):
            _out_of_reach(node)
        _check_part(node, left, len(path))

    def _typed(self, key: Sequence[object]) -> list[KeyValue | None]:
        if len(key) != len(self.dimensions):
            raise BadKey(
                f"the key has {len(key)} values, but {self.context} is partitioned by {len(self.dimensions)}"
            )
        pairs = zip(key, self.dimensions, strict=True)
        return [None if value is None else dimension.key_type.of(value) for value, dimension in pairs]


def _check_part(node: Node, left: list[list[Constraint]], depth: int) -> None:
    if isinstance(node, str):
        return
    if depth >= DEPTH_MAX:
        damaged("its splits are nested too deep")
    on = left[node.dimension]
    if on:
        for child, constraint in zip(node.children, node.constraints(), strict=True):
            on.append(constraint)
            if _is_empty(on):
                _out_of_reach(child)
            _check_part(child, left, depth + 1)
            on.pop()
        return
    # The first cut of a dimension leaves something to each child; what, is asked for only where it is cut again.
    below = [child for child in node.children if isinstance(child, Split)]
    if below:
        for child, constraint in zip(node.children, node.constraints(), strict=True):
            on.append(constraint)
            _check_part(child, left, depth + 1)
            on.pop()


def _out_of_reach(node: Node) -> NoReturn:
    damaged(f"no key belongs to {next(names_of(node), 'a part of it')}")


def names_of(node: Node) -> Iterator[str]:
    """The partitions of a part, in the order of the tree."""
    left = [node]
    while left:
        top = left.pop()
        if isinstance(top, str):
            yield top
        else:
            left.extend(reversed(top.in_order()))


def damaged(why: str) -> NoReturn:
    """It is no map."""
    raise RoutesDamaged(f"the map is damaged: {why}")
