"""Plausible rows for schemas that come without any: values by type, parents before children.

A row that the database refuses, for a check that nobody can guess, is left out; empty tables are named.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import psycopg
from psycopg import sql

COLUMNS = """
    SELECT a.attname, format_type(t.oid, NULL), t.typtype, t.typcategory, t.typelem,
           CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END,
           a.attnotnull, a.atthasdef OR a.attidentity <> '',
           a.attgenerated <> '' OR a.attidentity <> ''
             OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE '%%nextval%%', false),
           (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)
    FROM pg_attribute a
    JOIN pg_type u ON u.oid = a.atttypid
    JOIN pg_type t ON t.oid = coalesce(nullif(u.typbasetype, 0), u.oid)
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

FOREIGN_KEYS = """
    SELECT (SELECT relname FROM pg_class WHERE oid = confrelid),
           (SELECT array_agg(attname::text ORDER BY n) FROM unnest(conkey) WITH ORDINALITY k(num, n)
            JOIN pg_attribute ON attrelid = conrelid AND attnum = num),
           (SELECT array_agg(attname::text ORDER BY n) FROM unnest(confkey) WITH ORDINALITY k(num, n)
            JOIN pg_attribute ON attrelid = confrelid AND attnum = num)
    FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass ORDER BY conname
"""


@dataclass(frozen=True)
class Column:
    name: str
    type_name: str
    kind: str
    category: str
    element: int
    width: int | None
    not_null: bool
    has_default: bool
    makes_itself: bool
    labels: list[str] | None


class Filler:
    """Fills tables of one schema. `key` is the partition's column."""

    def __init__(self, url: str, schema: str, key: str, settings: dict[str, str]):
        self.session = psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor)
        self.schema, self.key = schema, key
        self.random = random.Random(42)
        for name, value in settings.items():
            self.session.execute("SELECT set_config(%s, %s, false)", [name, value])
        self.session.execute(f'SET search_path = "{schema}", public')

    def fill(self, tables: list[str], keys: list, rows: int) -> list[str]:
        """The tables that nothing could be put into."""
        empty = []
        for table in self._ordered(tables):
            columns = [Column(*found) for found in self.session.execute(COLUMNS, [self._name(table)])]
            parents = list(self.session.execute(FOREIGN_KEYS, [self._name(table)]))
            has_key = any(column.name == self.key for column in columns)
            for value in keys if has_key else [None]:
                there = 0
                for _ in range(rows * 3):
                    there += self._insert(table, columns, parents, value if has_key else None)
                    if there >= rows:
                        break
                if there == 0:
                    empty.append(table)
        self.session.close()
        return sorted(set(empty))

    def _name(self, table: str) -> str:
        return f'"{self.schema}"."{table}"'

    def _ordered(self, tables: list[str]) -> list[str]:
        """Parents first; what is left is a cycle, and comes as it is."""
        needs = {
            table: {
                parent
                for parent, *_ in self.session.execute(FOREIGN_KEYS, [self._name(table)])
                if parent in tables and parent != table
            }
            for table in tables
        }
        done: list[str] = []
        while needs:
            free = (
                sorted(table for table, parents in needs.items() if parents <= set(done)) or sorted(needs)[:1]
            )
            for table in free:
                done.append(table)
                needs.pop(table)
        return done

    def _insert(self, table: str, columns: list[Column], parents: list, key_value) -> int:
        values: dict[str, object] = {}
        if key_value is not None:
            values[self.key] = key_value
        for parent, own, theirs in parents:
            chosen = self._parent(parent, own, theirs, values, parent == table)
            nullable = any(not c.not_null for c in columns if c.name in own and c.name not in values)
            if chosen is None and not nullable:
                return 0
            values.update(chosen or {name: None for name in own if name not in values})
        for column in columns:
            if column.name in values or column.makes_itself:
                continue
            if column.has_default and self.random.random() < 0.5:
                continue
            is_null = not column.not_null and self.random.random() < 0.2
            values[column.name] = None if is_null else self._value(column)
        names = sql.SQL(", ").join(sql.Identifier(name) for name in values)
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(self.schema, table), names, sql.SQL(", ").join([sql.Placeholder()] * len(values))
        )
        try:
            self.session.execute(query, list(values.values()))
        except psycopg.Error:
            return 0
        return 1

    def _parent(
        self, parent: str, own: list[str], theirs: list[str], values: dict, is_self: bool
    ) -> dict | None:
        """A row of the parent that fits what is known already."""
        if is_self and self.random.random() < 0.6:
            return None
        known = [(their, values[mine]) for mine, their in zip(own, theirs) if mine in values]
        has_key = self.session.execute(
            "SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s AND attnum > 0",
            [self._name(parent), self.key],
        ).fetchone()
        if has_key is not None and self.key in values and self.key not in theirs:
            known.append((self.key, values[self.key]))
        where = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in known]
        query = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY random() LIMIT 1").format(
            sql.SQL(", ").join(sql.Identifier(name) for name in theirs),
            sql.Identifier(self.schema, parent),
            sql.SQL(" AND ").join([sql.SQL("true"), *where]),
        )
        found = self.session.execute(query).fetchone()
        return None if found is None else dict(zip(own, found))

    def _value(self, column: Column):
        pick = self.random
        if column.labels:
            return pick.choice(column.labels)
        if column.category == "A":
            return "{}"
        name = column.type_name
        numbers = {"smallint": 100, "integer": 2**31 - 1, "bigint": 2**53, "oid": 100}
        if name in numbers:
            return pick.randrange(numbers[name])
        if name in ("numeric", "real", "double precision"):
            return pick.choice(["0", "-1.5", "12345.678", "99.00"])
        if name == "boolean":
            return pick.random() < 0.5
        if name == "uuid":
            return f"{pick.getrandbits(128):032x}"
        if name.startswith("timestamp") or name == "date":
            day = f"20{pick.randrange(10, 30)}-0{pick.randrange(1, 10)}-1{pick.randrange(10)}"
            return f"{day} 12:3{pick.randrange(10)}:00.{pick.randrange(10**6):06}"
        if name.startswith("time"):
            return "12:34:56.789"
        if name == "interval":
            return "1 mon 2 days 03:04:05"
        if name in ("json", "jsonb"):
            return pick.choice(["{}", '{"a": [1, 2.50, null], "ü": "\\u00e4"}', "[]", '{"b": {"c": true}}'])
        if name == "bytea":
            return pick.randbytes(pick.choice([0, 7, 40]))
        if name in ("inet", "cidr"):
            return f"10.{pick.randrange(256)}.{pick.randrange(256)}.{pick.randrange(256)}"
        if name == "tsvector":
            return "'fat':2 'rat':3A"
        begin = pick.choice(["", "plain ", "Ümläut ß ", "🙂\t'quote' \\back ", 'a "b"\n'])
        text = begin + f"{pick.getrandbits(60):x}"
        return text[-column.width :] if column.width else text * pick.choice([1, 1, 1, 200])
