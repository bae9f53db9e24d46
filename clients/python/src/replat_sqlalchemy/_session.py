"""Sessions that find their partition's home at the start of each transaction, and stay there until its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Session, SessionTransaction

from ._errors import RouterError, RoutesStale
from ._pools import READ_ONLY_MARK
from ._routes import Route
from ._target import PartitionOrKey

if TYPE_CHECKING:
    from ._base import BaseRouter


@dataclass(frozen=True, slots=True)
class Pin:
    """What one transaction goes by, from its start to its end."""

    partition: str
    engine: Engine
    route: Route | None
    """``None`` if the router has no routes, as a `StaticRouter`."""
    stale: bool = False
    """The routes were too old to write by when the transaction began."""


class RoutedSession(Session):
    """An ordinary session of one partition. Made by a router, never directly."""

    def __init__(
        self,
        *args: Any,
        replat_router: BaseRouter,
        replat_target: PartitionOrKey | None = None,
        replat_partition_of: Callable[[Mapping[Any, Any]], PartitionOrKey | None] | None = None,
        replat_async: bool = False,
        replat_read_only: bool = False,
        **options: Any,
    ) -> None:
        if args or options.get("bind") is not None or options.get("binds"):
            raise TypeError(
                "a routed session has no bind of its own: its router finds one for each transaction"
            )
        self._replat_router = replat_router
        self._replat_target = replat_target
        self._replat_partition_of = replat_partition_of
        self._replat_async = replat_async
        self._replat_read_only = replat_read_only
        self._replat_pin: Pin | None = None
        self._replat_last: Pin | None = None
        self._replat_begun = False
        super().__init__(**options)

    @property
    def route(self) -> Route | None:
        """Where the transaction in progress goes; ``None`` between transactions."""
        return None if self._replat_pin is None else self._replat_pin.route

    @property
    def partition(self) -> str | None:
        """The partition of the transaction in progress; ``None`` between transactions."""
        return None if self._replat_pin is None else self._replat_pin.partition

    def get_bind(self, mapper: Any = None, **arguments: Any) -> Engine | Connection:
        """The engine of the partition's home: found anew for each transaction, and the same until its end."""
        bind = arguments.get("bind")
        if bind is not None:
            raise RouterError("a routed session takes no other bind: its partition says where its rows are")
        if self._replat_begun and self._replat_pin is not None:
            return self._replat_pin.engine
        target = self._replat_target
        if target is None and self._replat_partition_of is not None:
            target = self._replat_partition_of(self.info)
        self._replat_release()
        self._replat_pin = self._replat_router._pin(self, target, self._replat_async)
        return self._replat_pin.engine

    def close(self) -> None:
        """Ends the transaction and gives its connection back."""
        super().close()
        self._replat_release()

    def reset(self) -> None:
        """As `close`."""
        super().reset()
        self._replat_release()

    def _replat_release(self) -> None:
        pin, self._replat_pin, self._replat_begun = self._replat_pin, None, False
        if pin is not None:
            self._replat_last = pin
            self._replat_router._unpin(self, pin)


def routed(base: type[Session], install: Callable[[type[Session]], None]) -> type[RoutedSession]:
    """``base`` as a class whose sessions are routed; ``install`` may listen to its events."""
    made: type[RoutedSession] = (
        type("RoutedSession", (RoutedSession,), {})
        if base is Session
        else type(f"Routed{base.__name__}", (RoutedSession, base), {})
    )
    event.listen(made, "after_begin", _after_begin)
    event.listen(made, "after_transaction_end", _after_transaction_end)
    event.listen(made, "before_flush", _before_flush)
    install(made)
    return made


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    assert isinstance(session, RoutedSession)
    session._replat_begun = True
    pin = session._replat_pin
    if pin is None or connection.in_nested_transaction():
        return
    if pin.stale or session._replat_read_only:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() != "on":
            # In autocommit the setting lasts for nothing.
            why = "a session in autocommit cannot be kept from writing"
            raise session._replat_router._explained(
                RoutesStale(f"the routes are too old to write by, and {why}")
                if pin.stale
                else RouterError(why)
            )
        if pin.stale:
            connection.info[READ_ONLY_MARK] = True


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    assert isinstance(session, RoutedSession)
    if transaction.parent is None:
        session._replat_release()


def _before_flush(session: Session, context: Any, instances: Any) -> None:
    assert isinstance(session, RoutedSession)
    pin = session._replat_pin
    if session._replat_begun and pin is not None and pin.stale:
        raise session._replat_router._explained(RoutesStale("the routes are too old to write by"))
