"""What changed from one version of a context's routes to the next, as it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ._document import Reader, checked_range, partition_id, read_value
from ._errors import RoutesDamaged
from ._json import fields
from ._keys import KeyValue
from ._map import ByList, ByRange, Leaf, Map, Node, Split, names_of
from ._routes import Address, Routes, Traffic, read_address, read_traffic, routes_of


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes from one version of routes to a later one; checked when they are applied."""

    project: str
    context: str
    since: int
    version: int
    homes: Sequence[object]
    changes: Sequence[object]
    addresses: Mapping[str, Address | None]
    traffic: Mapping[str, Traffic | None]

    def after(self, routes: Routes) -> Routes:
        """The later routes. Those that were given stay as they were, and share what does not change."""
        if self.project != routes.project:
            _refuse(f"it is for project {self.project!r}, and the routes are of {routes.project!r}")
        map_ = self._map_after(routes.map)
        addresses = _changed(routes.addresses, self.addresses)
        traffic = _changed(routes.traffic, self.traffic)
        return routes_of(routes.project, map_, addresses, traffic)

    def _map_after(self, before: Map) -> Map:
        if self.context != before.context:
            _refuse(f"it is for context {self.context!r}, and the map is of {before.context!r}")
        if self.since != before.version or self.version <= self.since:
            _refuse(
                f"it leads from version {self.since} to {self.version}, and version {before.version} is here"
            )
        edit = _Edit(before, Reader(before.dimensions, self.homes))
        for change in self.changes:
            if isinstance(change, list):
                edit.home(change)
            else:
                edit.tree(change)
        return edit.finish(self.version)


def read_delta(document: object) -> Delta:
    """A delta of routes, as it is written in JSON."""
    raw = fields(document, "a delta", {"project": str, "map": dict}, {"addresses": dict, "traffic": dict})
    need = {"context": str, "from": int, "to": int, "homes": list, "changes": list}
    inner = fields(raw["map"], "a delta of a map", need)
    addresses = raw["addresses"] or {}
    traffic = raw["traffic"] or {}
    return Delta(
        raw["project"],
        inner["context"],
        inner["from"],
        inner["to"],
        inner["homes"],
        inner["changes"],
        {name: None if one is None else read_address(one) for name, one in addresses.items()},
        {partition_id(name): None if one is None else read_traffic(one) for name, one in traffic.items()},
    )


def _changed(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    if not changes:
        return before
    after = {**before, **changes}
    return {name: value for name, value in after.items() if value is not None}


class _Edit:
    """A map to which one change after the other is applied. Names come last, when all that go are known."""

    def __init__(self, before: Map, reader: Reader) -> None:
        self._before = before
        self._reader = reader
        self._root = before.root
        self._leaves = dict(before.by_name())
        self._gone: dict[str, Leaf] = {}
        self._come: dict[str, Leaf] = {}
        self._paths: list[tuple[int, ...]] = []

    def home(self, written: list[Any]) -> None:
        """A leaf lives elsewhere now."""
        given = self._reader.leaf(written)
        has = None if given.partition in self._gone else self._leaves.get(given.partition)
        if has is None:
            _refuse(f"it speaks of partition {given.partition}, which the map does not have")
        if given.epoch <= has.epoch:
            _refuse(f"it has {given.partition} at e{given.epoch}, and the map has it at e{has.epoch}")
        self._leaves[given.partition] = given

    def tree(self, written: object) -> None:
        """A part takes the place of another, or a split grows."""
        raw = fields(written, "a change", {"at": list}, {"node": object, "points": list, "children": list})
        path = tuple(raw["at"])
        if not all(type(place) is int and place >= 0 for place in path):
            _refuse("a path is made of places")
        old = _node_at(self._root, path)
        if raw["node"] is not None and raw["points"] is None and raw["children"] is None:
            self._goes(old)
            new = self._comes(raw["node"], len(path))
            self._root = _replaced(self._root, path, new)
            self._paths.append(path)
        elif raw["node"] is None and raw["points"] is not None and raw["children"] is not None:
            if not isinstance(old, Split):
                _refuse("there is nothing that could grow at a path")
            self._grow(path, old, raw["points"], raw["children"])
        else:
            _refuse("a change is neither a new node nor a split that grows")

    def _grow(
        self, path: tuple[int, ...], split: Split, points: list[object], children: list[object]
    ) -> None:
        key_type = self._before.dimensions[split.dimension].key_type
        read: list[tuple[KeyValue | None, int]] = []
        for point in points:
            if not isinstance(point, list) or len(point) != 2 or type(point[1]) is not int:
                _refuse("a point is a value and a place")
            value = None if point[0] is None else read_value(key_type, point[0])
            read.append((value, point[1]))
        every = split.children + tuple(self._comes(child, len(path) + 1) for child in children)
        before, after = len(split.children), len(every)
        narrowed: set[int] = set(range(before, after))
        by: ByList | ByRange
        if isinstance(split.by, ByList):
            by = _grown_list(split.by, read, before, after)
            narrowed.add(0)
        elif isinstance(split.by, ByRange):
            # Before a cut was there, what is on its left had keys on both sides.
            for cut, place in read:
                narrowed |= {place, split.by.order[0] if cut is None else split.place(cut)}
            by = _grown_range(split.by, read, after)
        else:
            _refuse("the buckets of a hash cannot be more")
        self._root = _replaced(self._root, path, Split(split.dimension, by, every))
        self._paths += [(*path, place) for place in sorted(narrowed)]

    def _goes(self, node: Node) -> None:
        for name in names_of(node):
            # What came in this very delta was nowhere before.
            if self._come.pop(name, None) is None:
                self._gone[name] = self._leaves[name]

    def _comes(self, written: object, depth: int) -> Node:
        self._reader.found = {}
        node = self._reader.node(written, depth)
        for name, leaf in self._reader.found.items():
            if name in self._come:
                _refuse(f"two leaves are named {name}")
            self._come[name] = leaf
        return node

    def finish(self, version: int) -> Map:
        """The map with all changes, if it is one."""
        for name in self._gone:
            del self._leaves[name]
        for name, leaf in self._come.items():
            was = self._gone.get(name)
            if was is not None and (
                leaf.epoch < was.epoch or (leaf.epoch == was.epoch and leaf.home != was.home)
            ):
                _refuse(f"it has {name} at e{leaf.epoch}, and the map has it at e{was.epoch}")
            if name in self._leaves:
                _refuse(f"two leaves are named {name}")
            self._leaves[name] = leaf
        before = self._before
        map_ = Map(before.context, version, before.dimensions, self._root, self._leaves, checked=True)
        for path in self._paths:
            map_.check_below(path)
        return map_


def _grown_list(by: ByList, points: Sequence[tuple[KeyValue | None, int]], before: int, after: int) -> ByList:
    places = dict(by.places)
    for value, place in points:
        if value is None:
            _refuse("a list has no cuts")
        if value in places:
            _refuse("a value is listed twice")
        if not 1 <= place < after:
            _refuse("a value leads to no child")
        places[value] = place
    if not {place for _, place in points} >= set(range(before, after)):
        _refuse("a child of a list has no value")
    return ByList(places)


def _grown_range(by: ByRange, points: Sequence[tuple[KeyValue | None, int]], after: int) -> ByRange:
    first = by.order[0]
    places = dict(zip(by.cuts, by.order[1:], strict=True))
    for cut, place in points:
        if cut is None:
            first = place
        else:
            places[cut] = place
    cuts = tuple(sorted(places))
    return checked_range(cuts, (first, *(places[cut] for cut in cuts)), after)


def _node_at(node: Node, path: Sequence[int]) -> Node:
    for place in path:
        if isinstance(node, str) or place >= len(node.children):
            _refuse("there is nothing at a path")
        node = node.children[place]
    return node


def _replaced(node: Node, path: Sequence[int], new: Node) -> Node:
    if not path:
        return new
    assert isinstance(node, Split)
    children = list(node.children)
    children[path[0]] = _replaced(children[path[0]], path[1:], new)
    return Split(node.dimension, node.by, tuple(children))


def _refuse(why: str) -> NoReturn:
    raise RoutesDamaged(f"a delta cannot be applied: {why}")
