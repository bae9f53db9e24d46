"""What all routers have in common: sessions, retries and fan-out. Where a partition lives is left to each."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql import Executable

from . import _fanout, _retry
from ._errors import RouterError
from ._policy import RoutePolicy
from ._routes import Route
from ._scope import scoped
from ._session import Pin, RoutedSession, routed
from ._target import PartitionOrKey, canonical

P = ParamSpec("P")
R = TypeVar("R")

PartitionOf = Callable[[Mapping[Any, Any]], "PartitionOrKey | None"]
"""Finds a session's partition from its ``info``."""


class Guard(Protocol):
    """Watches the sessions of a router."""

    def install(self, session_class: type[Session], router: BaseRouter) -> None:
        """Listens to the events of a class of sessions."""


class BaseRouter(ABC):
    """Gives sessions that belong to one partition each."""

    def __init__(self, context: str, policy: RoutePolicy, guards: Sequence[Guard]) -> None:
        self.context: Final = context
        self.policy: Final = policy
        self._guards = tuple(guards)
        self._classes: dict[type[Session], type[RoutedSession]] = {}
        self._classes_lock = threading.Lock()

    # Sessions

    def session(
        self,
        partition_or_key: PartitionOrKey | None = None,
        *,
        read_only: bool = False,
        class_: type[Session] = Session,
        **options: Any,
    ) -> RoutedSession:
        """A session of one partition: the one named, or else the innermost `partition_scope`'s.

        ``options`` are those of the session's class. The home is found at the start of each transaction. The
        transactions of a ``read_only`` session are read-only for the database too, and need not wait for most switches.
        """
        target = self._meant(partition_or_key)
        return self._class(class_)(
            replat_router=self, replat_target=target, replat_read_only=read_only, **options
        )

    def async_session(
        self,
        partition_or_key: PartitionOrKey | None = None,
        *,
        read_only: bool = False,
        class_: type[AsyncSession] = AsyncSession,
        sync_class: type[Session] = Session,
        **options: Any,
    ) -> AsyncSession:
        """The same for asyncio."""
        return class_(
            sync_session_class=self._class(sync_class),
            replat_router=self,
            replat_target=self._meant(partition_or_key),
            replat_read_only=read_only,
            replat_async=True,
            **options,
        )

    def sessionmaker(
        self, class_: type[Session] = Session, *, partition_of: PartitionOf | None = None, **options: Any
    ) -> sessionmaker[RoutedSession]:
        """A session factory to put in the place of an existing one.

        ``partition_of`` finds the partition from a session's ``info`` at the start of each transaction; without it,
        or where it gives ``None``, the innermost `partition_scope` counts.
        """
        return sessionmaker(
            class_=self._class(class_), replat_router=self, replat_partition_of=partition_of, **options
        )

    def async_sessionmaker(
        self,
        class_: type[AsyncSession] = AsyncSession,
        *,
        sync_class: type[Session] = Session,
        partition_of: PartitionOf | None = None,
        **options: Any,
    ) -> async_sessionmaker[AsyncSession]:
        """The same for asyncio."""
        return async_sessionmaker(
            class_=class_,
            sync_session_class=self._class(sync_class),
            replat_router=self,
            replat_partition_of=partition_of,
            replat_async=True,
            **options,
        )

    # Whole transactions

    @overload
    def transactional(
        self, *, retries: int = 1
    ) -> Callable[[Callable[Concatenate[Any, P], R]], _retry.Transactional[P, R]]: ...

    @overload
    def transactional(self, function: Callable[Concatenate[Any, P], R]) -> _retry.Transactional[P, R]: ...

    def transactional(self, function: Any = None, *, retries: int = 1) -> Any:
        """Makes a function, whose first parameter is a session, one transaction.

        If the database refuses it because its partition is being switched, it is run again from its start: up to
        ``retries`` times at a new home, and at the same one (a switch may also be given up) for as long as the
        policy's ``switch_wait``. If a row has no partition yet (SQLSTATE 23514), that is asked for, and the function is
        run again for as long as ``missing_wait``. A COMMIT whose outcome is unknown is never repeated. The partition is
        the innermost scope's; ``function.on(partition)(…)`` names another one. Works for ``async def`` with an async
        session.
        """

        def decorate(function: Callable[..., Any]) -> Any:
            return _retry.Transactional(self, function, retries)

        return decorate if function is None else decorate(function)

    def run(
        self,
        partition_or_key: PartitionOrKey | None,
        function: Callable[[RoutedSession], R],
        *,
        retries: int = 1,
    ) -> R:
        """Runs ``function`` once as a transaction, as `transactional` does."""
        return _retry.run(self, partition_or_key, function, retries)

    async def run_async(
        self,
        partition_or_key: PartitionOrKey | None,
        function: Callable[[AsyncSession], Awaitable[R]],
        *,
        retries: int = 1,
    ) -> R:
        """The same for asyncio."""
        return await _retry.run_async(self, partition_or_key, function, retries)

    # Many partitions

    def fan_out(
        self,
        statement: Executable | Callable[[Route], Executable],
        *,
        partitions: _fanout.Partitions = None,
        parallel: int = 8,
    ) -> Iterator[tuple[str, Sequence[Row[Any]]]]:
        """Runs a reading statement in each partition, and gives names and rows as they come. Merging is yours.

        ``partitions`` are names or keys, a pattern such as ``"eu_*"``, a function of a `Route`, or all. A plain
        statement is refused if two of the partitions share a home, where it would count the same rows twice: give a
        function of the route that selects the partition's rows, for example by `Router.region_clause`.
        """
        return _fanout.fan_out(self, statement, partitions, parallel)

    def fan_out_async(
        self,
        statement: Executable | Callable[[Route], Executable],
        *,
        partitions: _fanout.Partitions = None,
        parallel: int = 8,
    ) -> AsyncIterator[tuple[str, Sequence[Row[Any]]]]:
        """The same for asyncio."""
        return _fanout.fan_out_async(self, statement, partitions, parallel)

    # What each router does in its own way

    @abstractmethod
    def partition_of(self, partition_or_key: PartitionOrKey) -> str:
        """The name of the partition that is meant."""

    @abstractmethod
    def partitions_of(self, key: Mapping[str, Any]) -> list[str] | None:
        """The partitions that can hold a row with these columns; ``None`` if this router knows nothing of keys."""

    @abstractmethod
    def key_columns(self) -> Sequence[str]:
        """The columns of the key; none if this router knows nothing of keys."""

    @abstractmethod
    def partitions(self) -> Iterable[str]:
        """All partitions."""

    @abstractmethod
    def route_of(self, partition: str) -> Route | None:
        """Where a partition's requests go; ``None`` if this router has no routes."""

    @abstractmethod
    def home_of(self, partition: str) -> object:
        """Equal for partitions whose rows are in the same tables."""

    @abstractmethod
    def _pin(self, owner: RoutedSession, target: PartitionOrKey | None, is_async: bool) -> Pin:
        """Finds where a transaction goes, and waits where it must."""

    @abstractmethod
    def _unpin(self, owner: RoutedSession, pin: Pin) -> None:
        """The transaction is over."""

    @abstractmethod
    def _explained(self, error: RouterError) -> RouterError:
        """The error, with what the router knows."""

    @abstractmethod
    def _wait_for_move(self, pin: Pin, timeout: float) -> bool:
        """Whether the routes lead elsewhere than ``pin`` before the time is over."""

    @abstractmethod
    async def _wait_for_move_async(self, pin: Pin, timeout: float) -> bool:
        """The same for asyncio."""

    def _meant(self, explicit: PartitionOrKey | None) -> PartitionOrKey:
        return scoped(self.context, explicit, self._same)

    def _same(self, a: PartitionOrKey, b: PartitionOrKey) -> bool:
        if canonical(a) == canonical(b):
            return True
        try:
            return self.partition_of(a) == self.partition_of(b)
        except RouterError:
            return False

    def _class(self, base: type[Session]) -> type[RoutedSession]:
        if issubclass(base, RoutedSession):
            return base
        with self._classes_lock:
            made = self._classes.get(base)
            if made is None:

                def install(session_class: type[Session]) -> None:
                    for guard in self._guards:
                        guard.install(session_class, self)

                made = self._classes[base] = routed(base, install)
            return made
