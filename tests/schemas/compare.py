"""Looks at the rows of both sides without replat: digests by PostgreSQL itself."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

SETTINGS = """
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
    SET extra_float_digits = 3; SET bytea_output = 'hex'; SET search_path = pg_catalog, public
"""


FOREIGN_KEYS = """
    SELECT conname, c.relname, p.relname,
           (SELECT array_agg(attname::text ORDER BY n) FROM unnest(conkey) WITH ORDINALITY k(num, n)
            JOIN pg_attribute ON attrelid = conrelid AND attnum = num),
           (SELECT array_agg(attname::text ORDER BY n) FROM unnest(confkey) WITH ORDINALITY k(num, n)
            JOIN pg_attribute ON attrelid = confrelid AND attnum = num)
    FROM pg_constraint JOIN pg_class c ON c.oid = conrelid JOIN pg_class p ON p.oid = confrelid
    WHERE contype = 'f' AND connamespace = %s::regnamespace AND conparentid = 0 ORDER BY 1
"""

EVERY_ROW = sql.SQL("true")
"""The condition that picks no rows out."""


@dataclass(frozen=True)
class Rows:
    """How many rows there are, and a digest of all of them that does not depend on their order."""

    count: int
    digest: str


class Eye:
    """A session that only looks, on one side, at one schema."""

    def __init__(self, url: str, schema: str):
        self.schema = schema
        self.session = psycopg.connect(url, autocommit=True)
        self.session.execute(SETTINGS)

    def close(self) -> None:
        self.session.close()

    def tables(self) -> list[str]:
        """Tables of the schema that hold rows; a partition's rows are its root's."""
        found = self.session.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p') "
            "AND NOT relispartition ORDER BY 1",
            [f'"{self.schema}"'],
        )
        return [row[0] for row in found]

    def columns(self, table: str) -> list[str]:
        """Names in alphabetical order, so that the order of creation does not count."""
        found = self.session.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
            "AND NOT attisdropped ORDER BY 1",
            [f'"{self.schema}"."{table}"'],
        )
        return [row[0] for row in found]

    def rows(
        self, table: str, condition: sql.Composable = EVERY_ROW, columns: list[str] | None = None
    ) -> Rows:
        """The rows for which the condition holds; of each some expressions, or else all columns."""
        chosen = sql.SQL(", ".join(columns or [quoted(name) for name in self.columns(table)]))
        query = sql.SQL(
            "SELECT count(*), coalesce(md5(string_agg(line, '' ORDER BY line)), '') FROM "
            "(SELECT md5(ROW({columns})::text) AS line FROM {table} WHERE {condition}) x"
        ).format(columns=chosen, table=sql.Identifier(self.schema, table), condition=condition)
        count, digest = self.session.execute(query).fetchone()
        return Rows(count, digest)

    def orphans(self) -> list[str]:
        """Foreign keys that some row breaks, which is possible for those who write as a replica."""
        found = []
        for name, table, parent, own, theirs in self.session.execute(
            FOREIGN_KEYS, [f'"{self.schema}"']
        ).fetchall():
            own, theirs = [[sql.Identifier(column) for column in columns] for columns in (own, theirs)]
            query = sql.SQL(
                "SELECT count(*) FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {})"
            ).format(
                sql.Identifier(self.schema, table),
                sql.SQL(" AND ").join(sql.SQL("c.{} IS NOT NULL").format(column) for column in own),
                sql.Identifier(self.schema, parent),
                sql.SQL(" AND ").join(sql.SQL("p.{} = c.{}").format(*pair) for pair in zip(theirs, own)),
            )
            count = self.session.execute(query).fetchone()[0]
            if count:
                found.append(f"{count} rows of {table} break {name}")
        return found


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def of(key: str, value) -> sql.Composable:
    """The condition of one partition."""
    return sql.SQL("{} = {}").format(sql.Identifier(key), sql.Literal(value))


def not_of(key: str, value) -> sql.Composable:
    """The condition of every row beside one partition."""
    return sql.SQL("{} IS DISTINCT FROM {}").format(sql.Identifier(key), sql.Literal(value))
