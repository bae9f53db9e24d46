"""Which physical table of a home holds a key, for code that must name partitions.

The server itself is asked: its own partition constraints are evaluated for the key, so that nothing is guessed from
names, whatever a table is partitioned by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Table, text
from sqlalchemy import inspect as describe
from sqlalchemy.engine import Connection

from ._errors import NoTable
from ._pools import quote_ident


@dataclass(frozen=True, slots=True)
class TableName:
    """A table in a schema."""

    schema: str
    name: str

    def __str__(self) -> str:
        """Both quoted, for SQL."""
        return f"{quote_ident(self.schema)}.{quote_ident(self.name)}"


def entity_name(entity: object) -> str:
    """The table of a mapped class, a `Table`, or its name."""
    if isinstance(entity, str):
        return entity
    table = entity if isinstance(entity, Table) else getattr(describe(entity), "local_table", None)
    if not isinstance(table, Table):
        raise NoTable(f"{entity!r} is no table and no mapped class")
    return table.name


def find_table(connection: Connection, schema: str, name: str, values: Mapping[str, str]) -> TableName:
    """The table that takes a row with these values, as PostgreSQL writes them: ``name`` itself, or a leaf of it."""
    top = connection.execute(
        text(
            "SELECT c.oid, c.relkind = 'p' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
            "ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :name AND c.relkind IN ('r', 'p')"
        ),
        {"schema": schema, "name": name},
    ).one_or_none()
    if top is None:
        raise NoTable(f"{schema} has no table {name!r}")
    oid, divided = top
    wanted = _wanted(connection, oid, values)
    at = TableName(schema, name)
    while divided:
        oid, divided, at = _child(connection, oid, at, wanted)
    return at


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The values that are given, as a row with the table's own types."""

    row: str
    """What stands in SQL; what is not given is not there to be looked at."""
    parameters: Mapping[str, str]
    columns: frozenset[str]


def _wanted(connection: Connection, oid: int, values: Mapping[str, str]) -> _Wanted:
    types = connection.execute(
        text(
            "SELECT attname, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute "
            "WHERE attrelid = :oid AND attnum > 0 AND NOT attisdropped"
        ),
        {"oid": oid},
    ).all()
    given = [(name, kind) for name, kind in types if name in values]
    unknown = set(values) - {name for name, _ in given}
    if unknown:
        raise NoTable(f"the table has no column {sorted(unknown)[0]!r}")
    casts = (
        f"CAST(CAST(:v{i} AS text) AS {kind}) AS {quote_ident(name)}" for i, (name, kind) in enumerate(given)
    )
    parameters = {f"v{i}": values[name] for i, (name, _) in enumerate(given)}
    return _Wanted(", ".join(casts).replace("\\", "\\\\"), parameters, frozenset(values))


def _child(
    connection: Connection, parent: int, at: TableName, wanted: _Wanted
) -> tuple[int, bool, TableName]:
    children = connection.execute(
        text(
            "SELECT c.oid, c.relkind = 'p', n.nspname, c.relname, pg_catalog.pg_get_partition_constraintdef(c.oid) "
            "FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid "
            "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE i.inhparent = :parent AND NOT i.inhdetachpending ORDER BY c.oid"
        ),
        {"parent": parent},
    ).all()
    keys = connection.execute(
        text(
            "SELECT a.attname FROM pg_catalog.pg_partitioned_table p, pg_catalog.pg_attribute a "
            "WHERE p.partrelid = :parent AND a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)"
        ),
        {"parent": parent},
    ).scalars()
    missing = sorted(set(keys) - wanted.columns)
    if missing:
        raise NoTable(f"{at} is partitioned by {missing[0]!r}, of which no value was given")
    if children:
        # A constraint is SQL that the server wrote. A colon in it is not one of our parameters.
        tests = ", ".join(
            f"({(child[4] or 'true')})".replace("\\", "\\\\").replace(":", "\\:") for child in children
        )
        found = connection.execute(
            text(
                f"SELECT pg_catalog.array_position(ARRAY[{tests}], true) FROM (SELECT {wanted.row}) AS wanted"
            ),
            wanted.parameters,
        ).scalar_one()
        if found is not None:
            oid, divided, schema, name, _ = children[found - 1]
            return oid, divided, TableName(schema, name)
    raise NoTable(f"no partition of {at} takes this key")
