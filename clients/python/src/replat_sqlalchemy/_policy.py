"""What a router may do when routes are old, or a partition is being switched; and how it logs in."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Duration: TypeAlias = "str | float | dt.timedelta"
"""``"500ms"``, ``"2s"``, ``"5m"``, ``"1h"``; a bare number is seconds."""

_DURATION: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)\s*\Z")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: Duration) -> float:
    """A duration in seconds."""
    if isinstance(duration, dt.timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, str):
        match = _DURATION.match(duration)
        if not match:
            raise ValueError(f"{duration!r} is not a duration like '500ms', '2s' or '5m'")
        value = float(match[1]) * _SECONDS[match[2]]
    else:
        value = float(duration)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{duration!r} is not a duration")
    return value


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """What a router may do. Durations are texts like ``"2s"``, seconds, or a ``timedelta``."""

    max_stale: Duration = "30s"
    """Nothing begins by routes older than this: the partition may have moved, and its former home would answer."""
    max_stale_reads: Duration | Literal["unlimited"] | None = None
    """For reads, a longer time: in between, transactions begin and cannot write, which the database itself sees to.
    What they read may be as old as the switch that was missed. ``"unlimited"``: reads are never refused."""
    on_switch: Literal["wait", "raise"] = "wait"
    """Whether a transaction waits while its partition is switched."""
    switch_wait: Duration = "2s"
    """How long it waits at most."""
    unknown_partition: Literal["raise", "refresh"] = "raise"
    """Whether the source of routes is asked once more before an unknown partition is an error."""
    missing_wait: Duration = "5s"
    """For how long a whole transaction is run again whose row has no partition yet, which is asked for meanwhile;
    ``0``: not at all. Only where replat runs the transaction: `transactional`, `run`, `run_async`."""
    start_wait: Duration = "10s"
    """How long the first use of a router waits for its first routes."""
    schema: Literal["search_path", "translate"] = "search_path"
    """How a home's schema is chosen: for all SQL by ``search_path`` at connect, or by ``schema_translate_map``."""
    search_path_after: tuple[str, ...] = ()
    """Schemas after the home's own one, such as ``("public",)`` if extensions live there."""
    pools_max: int = 64
    """How many databases and schemas have a pool at once; the least recently used one is closed first."""

    def __post_init__(self) -> None:
        for name in ("max_stale", "switch_wait", "missing_wait", "start_wait"):
            seconds(getattr(self, name))
        if self.max_stale_reads is not None and self.reads_end_after() < seconds(self.max_stale):
            raise ValueError("max_stale_reads is not shorter than max_stale")
        if self.on_switch not in ("wait", "raise"):
            raise ValueError("on_switch is 'wait' or 'raise'")
        if self.unknown_partition not in ("raise", "refresh"):
            raise ValueError("unknown_partition is 'raise' or 'refresh'")
        if self.schema not in ("search_path", "translate"):
            raise ValueError("schema is 'search_path' or 'translate'")
        if self.pools_max < 1:
            raise ValueError("pools_max is at least 1")

    def reads_end_after(self) -> float:
        """The age of routes, in seconds, beyond which nothing begins."""
        if self.max_stale_reads == "unlimited":
            return math.inf
        return seconds(self.max_stale if self.max_stale_reads is None else self.max_stale_reads)


@dataclass(frozen=True, slots=True)
class FileToken:
    """A secret in a file, read anew at each use, so that it can be exchanged while the program runs."""

    path: str | os.PathLike[str]

    def __call__(self) -> str:
        """The secret, without blanks around it."""
        return Path(self.path).read_text(encoding="utf-8").strip()


Secret: TypeAlias = "str | Callable[[], str]"
"""A secret, or what gives it, such as `FileToken`."""


def reveal(secret: Secret) -> str:
    """The secret itself."""
    return secret if isinstance(secret, str) else secret()


@dataclass(frozen=True, slots=True)
class Login:
    """How sessions log in to homes; routes hold no secrets. What is missing is left to the driver (libpq's rules)."""

    user: str | None = None
    password: Secret | None = field(default=None, repr=False)
    """Read at each new connection."""
    driver: str = "psycopg"
    """SQLAlchemy's name of the driver of ordinary sessions."""
    async_driver: str = "asyncpg"
    """SQLAlchemy's name of the driver of async sessions; ``psycopg`` can be both."""
    query: Mapping[str, str] = field(default_factory=dict)
    """More of the URL's query, such as ``{"sslmode": "verify-full"}``."""
    connect_args: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """More arguments of the driver's connect function."""
