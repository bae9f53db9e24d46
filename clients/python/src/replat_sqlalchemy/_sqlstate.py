"""What a database's refusal means, whichever driver brings it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

READ_ONLY: Final = "25006"
"""Also what standbys and read-only transactions say: only with our DETAIL is it about a partition."""

_SAID_NO: Final = ("22", "23", "25", "40", "42", "44", "P0")
"""Classes of ordinary errors: in answer to COMMIT they say that it did not happen."""
_UNSURE: Final = ("08007", "40003")
"""transaction_resolution_unknown and statement_completion_unknown."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The guard of a partition refused a statement."""

    partition: str
    epoch: int | None
    home: str | None
    switching: bool


def closed(error: BaseException | None) -> Closed | None:
    """What the guard of a partition said; ``None`` if this error is something else.

    A table that is closed for other reasons (reference tables, TRUNCATE, one that is being filled) says so with
    another state: to ask the map again would not help there.
    """
    if error is None or sqlstate(error) != READ_ONLY:
        return None
    try:
        detail = json.loads(field(error, "D") or "")
    except ValueError:
        return None
    if not isinstance(detail, dict) or detail.get("state") not in ("switching", "moved"):
        return None
    partition, epoch, home = detail.get("partition"), detail.get("epoch"), detail.get("home")
    if not isinstance(partition, str):
        return None
    return Closed(
        partition,
        epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None,
        home if isinstance(home, str) else None,
        detail["state"] == "switching",
    )


def commit_may_have_happened(error: BaseException | None) -> bool:
    """Whether an error during COMMIT leaves its outcome open."""
    state = None if error is None else sqlstate(error)
    return state is None or state in _UNSURE or not state.startswith(_SAID_NO)


def sqlstate(error: BaseException) -> str | None:
    """The five characters; ``None`` if the error did not come from the server."""
    for found in _chain(error):
        for name in ("sqlstate", "pgcode"):
            state = getattr(found, name, None)
            if isinstance(state, str) and len(state) == 5:
                return state
        state = _pg8000(found).get("C")
        if isinstance(state, str):
            return state
    return None


_FIELDS: Final = {
    "D": ("message_detail", "detail"),
    "s": ("schema_name", "schema_name"),
    "t": ("table_name", "table_name"),
    "n": ("constraint_name", "constraint_name"),
    "R": ("source_function", "server_source_function"),
}
"""Fields of the protocol's ErrorResponse, as psycopg and as asyncpg name them."""


def field(error: BaseException, letter: str) -> str | None:
    """What the server said in this field of its error; ``None`` if nothing."""
    psycopg, asyncpg = _FIELDS[letter]
    for found in _chain(error):
        for text in (
            getattr(getattr(found, "diag", None), psycopg, None),
            getattr(found, asyncpg, None),
            _pg8000(found).get(letter),
        ):
            if isinstance(text, str):
                return text
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its cause: SQLAlchemy wraps what asyncpg raises."""
    return [error] if error.__cause__ is None else [error, error.__cause__]


def _pg8000(error: BaseException) -> dict[str, Any]:
    """pg8000 gives the server's fields as a dictionary."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, dict) else {}
