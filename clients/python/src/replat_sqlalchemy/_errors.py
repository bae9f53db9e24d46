"""What can go wrong, for three readers: the program (``code``, ``retryable``), the operator (``remedy``), the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import OperationalError


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """What the router knew at the moment of an error."""

    project: str
    context: str
    version: int
    """The version of the routes; 0 if there were none."""
    age: float | None
    """Seconds since the source of routes was last heard; ``None`` if never."""
    partition: str | None = None
    home: str | None = None
    """``database.schema``."""
    epoch: int | None = None
    events: tuple[str, ...] = ()
    """What happened to the routes last, oldest first."""

    def __str__(self) -> str:
        age = "never heard" if self.age is None else f"heard {self.age:.1f} s ago"
        at = f"{self.partition} in {self.home} at e{self.epoch}, " if self.partition else ""
        return f"{at}routes {self.project}/{self.context} v{self.version}, {age}"


class RouterError(Exception):
    """The root of this package's errors."""

    code: str = "router"
    """Stable, for programs."""
    state: str = "nothing was written"
    """What is true of the data."""
    remedy: tuple[str, ...] = ()
    """What a person can do, best first."""
    retryable: bool = False
    """Whether the same transaction, run again from its start, can succeed."""
    snapshot: RouteSnapshot | None = None
    """What the router knew."""

    def with_snapshot(self, snapshot: RouteSnapshot) -> RouterError:
        """This error, with what the router knew if that is not there yet."""
        if self.snapshot is None:
            self.snapshot = snapshot
            if hasattr(self, "add_note"):
                self.add_note(f"route: {snapshot}")
        return self


class RoutesDamaged(RouterError):
    """Routes are not what was published: truncated, altered, signed with another key, or of an unknown layout."""

    code: str = "routes-damaged"
    state: str = "the routes that were there before stay in force"
    remedy: tuple[str, ...] = (
        "see whether router and publisher have the same project key",
        "replat registry fsck",
        "publish the routes again",
    )


class WrongProject(RoutesDamaged):
    """Routes are of another project or context than this router's."""

    code: str = "wrong-project"
    remedy: tuple[str, ...] = (
        "see which project and context the router is made for, and where its URL leads",
    )


class RoutesUnavailable(RouterError):
    """There are no routes yet, and their source did not give any in time."""

    code: str = "routes-unavailable"
    retryable: bool = True
    remedy: tuple[str, ...] = (
        "see whether the source of routes can be reached from here",
        "replat registry status",
    )


class RoutesStale(RouterError):
    """The routes are older than the policy allows for what was asked."""

    code: str = "routes-stale"
    retryable: bool = True
    remedy: tuple[str, ...] = (
        "see whether the source of routes can be reached from here",
        "set max_stale_reads of the policy if reads may be as old as a switch that was missed",
        "raise max_stale of the policy",
    )


class BadKey(RouterError, ValueError):
    """This is not a key of the context."""

    code: str = "bad-key"


class UnknownPartition(RouterError, LookupError):
    """The map has no such partition."""

    code: str = "unknown-partition"
    remedy: tuple[str, ...] = (
        "replat route lookup",
        "see whether a text key was given where a name is expected: use a tuple",
    )


class ManyPartitions(RouterError, LookupError):
    """The key leaves more than one partition open, and one is needed."""

    code: str = "many-partitions"
    remedy: tuple[str, ...] = ("give a value for each dimension", "use fan_out")


class NoPartition(RouterError, LookupError):
    """Nothing says which partition is meant."""

    code: str = "no-partition"
    remedy: tuple[str, ...] = (
        "name it: router.session('acme')",
        "open a partition_scope",
        "give the sessionmaker a partition_of",
    )


class PartitionLocked(RouterError):
    """A locked scope is open for another partition."""

    code: str = "partition-locked"
    remedy: tuple[str, ...] = ("leave the scope first", "open the outer scope without lock=True")


class WrongPartition(RouterError):
    """An object belongs to another partition than its session."""

    code: str = "wrong-partition"
    remedy: tuple[str, ...] = ("use a session of the object's own partition",)


class PartitionHeld(RouterError):
    """The partition is held for a switch, and the policy does not allow to wait longer."""

    code: str = "partition-held"
    state: str = "the transaction has not begun"
    retryable: bool = True
    remedy: tuple[str, ...] = (
        "try again in a moment",
        "raise switch_wait of the policy if switches take longer",
    )


class BadFanOut(RouterError, ValueError):
    """The statement, or the choice of partitions, would not give each partition's own rows."""

    code: str = "bad-fan-out"
    remedy: tuple[str, ...] = (
        "give a function of the route that selects the partition's rows, as Router.region_clause does",
    )


class NoTable(RouterError, LookupError):
    """No table of the home takes this key."""

    code: str = "no-table"
    remedy: tuple[str, ...] = ("replat rotate plan", "see which partitions the table has")


class CrossPartitionWarning(UserWarning):
    """A load may have looked for a row where it does not live."""


class PartitionSwitched(RouterError, OperationalError):
    """The database refuses the partition's writes, because it is being switched or lives elsewhere by now.

    The transaction is rolled back, or must be, and may be run again from its start.
    """

    code: str = "partition-switched"
    state: str = "the transaction was refused by the database; nothing of it was kept"
    retryable: bool = True
    remedy: tuple[str, ...] = (
        "run the transaction again: @router.transactional does it",
        "raise switch_wait of the policy if switches take longer",
    )

    def __init__(
        self,
        statement: str | None,
        params: Any,
        orig: BaseException,
        *,
        partition: str,
        epoch: int | None,
        home: str | None,
        switching: bool,
    ) -> None:
        OperationalError.__init__(self, statement, params, orig)
        self.partition = partition
        """The partition, as the database names it."""
        self.fence_epoch = epoch
        """The epoch that the database knows."""
        self.new_home = home
        """Where the partition lives, ``database.schema``, if the database knows."""
        self.switching = switching
        """The switch is not decided yet: it may also end where it began."""

    def _code_str(self) -> str:
        return ""


class OutcomeUnknown(RouterError, OperationalError):
    """The connection was lost during COMMIT. Nobody knows whether it happened; it is never repeated by itself."""

    code: str = "outcome-unknown"
    state: str = "the transaction is either wholly there or wholly absent"
    remedy: tuple[str, ...] = ("read back, by a key that the transaction wrote, whether it is there",)

    def __init__(self, orig: BaseException) -> None:
        OperationalError.__init__(self, "COMMIT", None, orig, connection_invalidated=True)

    def _code_str(self) -> str:
        return ""
