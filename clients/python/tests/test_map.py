"""Maps and deltas as documents: what is read, and that everything else is refused and nothing else happens."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import json
import random
import uuid
from typing import Any

import pytest

from replat_sqlalchemy import BadKey, KeyType, KeyValue, Map, RouterError, Routes, RoutesDamaged
from replat_sqlalchemy._delta import read_delta
from replat_sqlalchemy._document import read_map
from replat_sqlalchemy._envelope import read_document
from replat_sqlalchemy._json import parse_json
from replat_sqlalchemy._routes import read_routes
from replat_sqlalchemy._source import parse_events
from replat_sqlalchemy._target import key_of

MAP: dict[str, Any] = {
    "format": 2,
    "context": "c",
    "version": 3,
    "dimensions": [{"column": "t", "type": "bigint"}, {"column": "d", "type": "date"}],
    "homes": [["blue", "s"], ["green", "s"]],
    "root": {
        "split": "list",
        "dimension": 0,
        "values": [[1, 2], [3]],
        "children": [
            {"split": "hash", "dimension": 0, "children": [["h0", 0, 1], ["h1", 0, 1], ["h2", 1, 4]]},
            {
                "split": "range",
                "dimension": 1,
                "cuts": ["2026-01-01", "2026-02-01"],
                "order": [0, 2, 1],
                "children": [["old", 0, 1], ["new", 1, 2], ["mid", 0, 1]],
            },
            ["three", 1, 2],
        ],
    },
}
ADDRESS = {"host": "h", "port": 1, "dbname": "d"}
ROUTES: dict[str, Any] = {"project": "p", "map": MAP, "addresses": {"blue": ADDRESS, "green": ADDRESS}}


def routes(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ROUTES), **changes}


def find(map_: Map, t: int, d: str) -> str:
    return map_.lookup((t, d)).partition


def delta(*changes: Any, **more: Any) -> dict[str, Any]:
    inner = {"context": "c", "from": 3, "to": 4, "homes": [["green", "x"]], "changes": list(changes)}
    return {"project": "p", "map": {**inner, **more.pop("map", {})}, **more}


def after(*changes: Any, **more: Any) -> Routes:
    return read_delta(delta(*changes, **more)).after(read_routes(routes()))


def test_lookup() -> None:
    map_ = read_map(MAP)
    assert [find(map_, 1, day) for day in ("2025-12-31", "2026-01-01", "2026-01-31", "2026-02-01")] == [
        "old",
        "mid",
        "mid",
        "new",
    ]
    assert [leaf.partition for leaf in map_.leaves()] == ["h0", "h1", "h2", "old", "mid", "new", "three"]
    assert [leaf.partition for leaf in map_.lookup_partial((2, None))] == ["old", "mid", "new"]
    assert len(map_.lookup_partial((None, None))) == 7
    with pytest.raises(BadKey):
        map_.lookup((None, "2026-01-01"))


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        (["three", 0, 3], {(3, "2026-01-01"): ("three", "green.x", 3)}),
        (
            {"at": [], "points": [[7, 3]], "children": [["seven", 0, 1]]},
            {(7, "2026-01-01"): ("seven", "green.x", 1), (3, "2026-01-01"): ("three", "green.s", 2)},
        ),
        (
            {"at": [1], "points": [["2026-01-10", 3], ["2026-01-20", 2]], "children": [["few", 0, 1]]},
            None,
        ),
        (
            {"at": [1], "points": [["2026-01-10", 3], ["2026-01-01", 2]], "children": [["few", 0, 1]]},
            {(1, "2026-01-09"): ("mid", "blue.s", 1), (1, "2026-01-10"): ("few", "green.x", 1)},
        ),
        (
            {"at": [1], "points": [[None, 3], ["2025-06-01", 0]], "children": [["older", 0, 1]]},
            {(1, "2025-05-31"): ("older", "green.x", 1), (1, "2025-06-01"): ("old", "blue.s", 1)},
        ),
        (
            {
                "at": [2],
                "node": {"split": "hash", "dimension": 1, "children": [["three", 0, 3], ["four", 0, 1]]},
            },
            {},
        ),
    ],
)
def test_deltas(change: Any, checks: dict[tuple[int, str], tuple[str, str, int]] | None) -> None:
    before = read_routes(routes())
    kept = [(leaf, find(before.map, 1, "2026-01-01")) for leaf in before.map.leaves()]
    if checks is None:
        with pytest.raises(RoutesDamaged):
            read_delta(delta(change)).after(before)
    else:
        map_ = read_delta(delta(change)).after(before).map
        assert map_.version == 4
        for (t, d), want in checks.items():
            leaf = map_.lookup((t, d))
            assert (leaf.partition, str(leaf.home), leaf.epoch) == want
        assert {leaf.partition for leaf in map_.leaves()} == set(map_.by_name())
    assert [(leaf, find(before.map, 1, "2026-01-01")) for leaf in before.map.leaves()] == kept, (
        "a map never changes"
    )


@pytest.mark.parametrize(
    "change",
    [
        ["three", 0, 2],
        ["nobody", 0, 9],
        ["three", 1, 9],
        {"at": [9], "node": ["x", 0, 1]},
        {"at": [2, 0], "node": ["x", 0, 1]},
        {"at": [2], "node": ["old", 0, 1]},
        {"at": [2], "node": ["three", 0, 1]},
        {"at": [2], "node": ["three", 0, 2]},
        {"at": [-1], "node": ["x", 0, 1]},
        {"at": [2]},
        {"at": [0], "points": [], "children": [["x", 0, 1]]},
        {"at": [2], "points": [[5, 1]], "children": [["x", 0, 1]]},
        {"at": [], "points": [], "children": [["x", 0, 1]]},
        {"at": [], "points": [[1, 3]], "children": [["x", 0, 1]]},
        {"at": [], "points": [[5, 0], [6, 3]], "children": [["x", 0, 1]]},
        {"at": [], "points": [["5", 3]], "children": [["x", 0, 1]]},
        {"at": [1], "points": [], "children": [["x", 0, 1]]},
        {
            "at": [1, 0],
            "node": {"split": "range", "dimension": 1, "cuts": ["2027-01-01"], "children": [["x", 0, 1]] * 2},
        },
        {
            "at": [1, 0],
            "node": {
                "split": "range",
                "dimension": 1,
                "cuts": ["2027-01-01"],
                "children": [["x", 0, 1], ["y", 0, 1]],
            },
        },
        7,
    ],
    ids=json.dumps,
)
def test_deltas_that_are_refused(change: Any) -> None:
    with pytest.raises(RoutesDamaged):
        after(change)


def test_deltas_of_the_rest() -> None:
    assert after(addresses={"red": ADDRESS}).addresses.keys() == {"blue", "green", "red"}
    assert after(traffic={"old": {"features": ["f"]}}).traffic["old"].features == {"f"}
    for more in (
        {"project": "q"},
        {"map": {"context": "d"}},
        {"map": {"from": 2}},
        {"map": {"to": 3}},
        {"addresses": {"blue": None}},
        {"traffic": {"nobody": {}}},
    ):
        with pytest.raises(RoutesDamaged):
            after(**more)


def broken(document: Any, rng: random.Random) -> Any:
    """The document with something else in one place."""
    spots: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            spots.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(document)
    node, key = rng.choice(spots)
    kind = rng.randrange(4)
    if kind == 0 and isinstance(node, dict):
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node["extra"] = 1
    else:
        other, other_key = rng.choice(spots)
        values = [
            None,
            0,
            -1,
            1,
            2**64,
            1.5,
            True,
            "",
            "x",
            "\ud800",
            [],
            {},
            [[]],
            copy.deepcopy(other.get(other_key) if isinstance(other, dict) else other[0] if other else 0),
        ]
        node[key] = rng.choice(values)
    return document


def test_whatever_is_read_is_a_map_or_refused() -> None:
    rng = random.Random(4)
    whole = 0
    for _ in range(3_000):
        document = broken(routes(traffic={"old": {"schema_version": "1"}}), rng)
        try:
            map_ = read_routes(document).map
        except RouterError:
            continue
        whole += 1
        for leaf in map_.leaves():
            assert map_.leaf(leaf.partition) == leaf
    assert whole > 50, "some changes do no harm"
    grows = {"at": [1], "points": [["2026-01-10", 3]], "children": [["few", 0, 1]]}
    for _ in range(3_000):
        document = broken(delta(["three", 0, 3], grows, {"at": [2], "node": ["x", 0, 1]}), rng)
        try:
            map_ = read_delta(document).after(read_routes(routes())).map
        except RouterError:
            continue
        assert {leaf.partition for leaf in map_.leaves()} == set(map_.by_name())


def test_whatever_bytes_are_read_are_refused() -> None:
    rng = random.Random(5)
    good = json.dumps(ROUTES).encode()
    for _ in range(2_000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        with contextlib.suppress(RouterError):
            list(read_document(bytes(data)))
        list(parse_events(bytes(data).splitlines(keepends=True)))
    for text in ("[" * 100_000, '{"a":1,"a":2}', "NaN", '{"a":Infinity}', b"\xff\xfe", "9" * 5_000):
        with pytest.raises(RoutesDamaged):
            parse_json(text, "a document")
    deep: Any = ["x", 0, 1]
    for n in range(40):
        deep = {"split": "range", "dimension": 0, "cuts": [n], "children": [[f"l{n}", 0, 1], deep]}
    with pytest.raises(RoutesDamaged, match="deep"):
        read_routes(routes(map={**MAP, "root": deep}))


@pytest.mark.parametrize(
    ("key_type", "given", "text"),
    [
        (KeyType.INTEGER, 7, "7"),
        (KeyType.INTEGER, "+7", "7"),
        (KeyType.TEXT, "0042", "0042"),
        (KeyType.UUID, uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (KeyType.UUID, "A" * 32, "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"),
        (KeyType.DATE, dt.date(2026, 1, 31), "2026-01-31"),
        (KeyType.DATE, "0044-03-15 BC", "0044-03-15 BC"),
        (KeyType.TIMESTAMP, dt.datetime(2026, 1, 31, 12, 0, 0, 500), "2026-01-31 12:00:00.0005"),
        (KeyType.TIMESTAMP, "2026-01-31T24:00:00", "2026-02-01 00:00:00"),
        (
            KeyType.TIMESTAMPTZ,
            dt.datetime(2026, 1, 31, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            "2026-01-30 23:00:00+00",
        ),
        (KeyType.TIMESTAMPTZ, "2026-01-31 12:00:00-03:30", "2026-01-31 15:30:00+00"),
    ],
)
def test_values(key_type: KeyType, given: Any, text: str) -> None:
    value = key_type.of(given)
    assert isinstance(value, KeyValue) and key_type.text_of(value) == text
    assert key_type.parse(text) == value


@pytest.mark.parametrize(
    ("key_type", "given"),
    [
        (KeyType.SMALLINT, 32768),
        (KeyType.BIGINT, 2**63),
        (KeyType.BIGINT, True),
        (KeyType.BIGINT, 1.0),
        (KeyType.BIGINT, "1_000"),
        (KeyType.BIGINT, " 1"),
        (KeyType.BIGINT, "٣"),
        (KeyType.BIGINT, "9" * 10_000),
        (KeyType.TEXT, 1),
        (KeyType.TEXT, "a\0b"),
        (KeyType.TEXT, "\ud800"),
        (KeyType.UUID, "1"),
        (KeyType.UUID, "0" * 16 + "-" + "0" * 16),
        (KeyType.DATE, "2026-02-29"),
        (KeyType.DATE, "infinity"),
        (KeyType.DATE, dt.datetime(2026, 1, 1)),
        (KeyType.TIMESTAMP, "2026-01-01 00:00:00+00"),
        (KeyType.TIMESTAMP, dt.date(2026, 1, 1)),
        (KeyType.TIMESTAMP, dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)),
        (KeyType.TIMESTAMPTZ, dt.datetime(2026, 1, 1)),
        (KeyType.TIMESTAMPTZ, "2026-01-01 25:00:00"),
    ],
)
def test_what_is_no_value(key_type: KeyType, given: Any) -> None:
    with pytest.raises(BadKey):
        key_type.of(given)


def test_targets() -> None:
    dimensions = read_map(MAP).dimensions
    day = KeyType.DATE.parse("2026-01-31")
    one = KeyType.BIGINT.of(1)
    for written in ((1, "2026-01-31"), {"d": dt.date(2026, 1, 31), "t": 1}, 't=1, d="2026-01-31"'):
        assert key_of(written, dimensions) == [one, day]
    assert key_of("t=1", dimensions) == [one, None]
    assert key_of("acme", dimensions) is None
    bad: Any
    for bad in (7, (1,), {"x": 1}, "t=1,t=2", "t=", "t=[1,2)", 't="1', "t=1,"):
        with pytest.raises(BadKey):
            key_of(bad, dimensions)
