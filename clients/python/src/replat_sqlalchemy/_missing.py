"""Rows for which no partition is there yet: how that is told, and how their partition is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from ._sqlstate import field, sqlstate

if TYPE_CHECKING:
    from sqlalchemy import TextClause

CHECK_VIOLATION: Final = "23514"
_FIND_PARTITION: Final = "ExecFindPartition"
"""The server's routine, which is the same in every language of its messages."""

_DAY: Final = re.compile(r"(?<![0-9-])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9-])", re.ASCII)

_ASK: Final = """
SELECT pg_catalog.pg_notify('replat_rotate', CAST(pg_catalog.json_strip_nulls(pg_catalog.json_build_object(
         'table', tn.nspname || '.' || t.relname, 'until', CAST(:until AS text))) AS text))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
     pg_catalog.pg_class t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE n.nspname = CAST(:schema AS text) AND c.relname = CAST(:name AS text)
  AND t.oid = CAST(pg_catalog.pg_partition_root(c.oid) AS pg_catalog.oid)
"""


@dataclass(frozen=True, slots=True)
class Missing:
    """A partition that a row has found missing."""

    schema: str
    table: str
    until: str | None
    """The last day in the row's key, as ``2027-01-31``."""

    def question(self) -> tuple[TextClause, dict[str, Any]]:
        """The statement that asks ``replat rotate --watch`` for it, and its parameters.

        Under the name of the table at the top, which is the one that a policy names.
        """
        return text(_ASK), {"schema": self.schema, "name": self.table, "until": self.until}


def missing(error: BaseException | None) -> Missing | None:
    """The partition that is missing by this error; ``None`` if it is about something else, such as a CHECK."""
    if error is None or sqlstate(error) != CHECK_VIOLATION or field(error, "n") is not None:
        return None
    schema, table = field(error, "s"), field(error, "t")
    if field(error, "R") != _FIND_PARTITION or schema is None or table is None:
        return None
    _, mark, values = (field(error, "D") or "").partition(") = (")
    return Missing(schema, table, max(_DAY.findall(values), default=None) if mark else None)
