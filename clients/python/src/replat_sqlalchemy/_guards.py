"""Guards: what an application can have checked on each session of a router."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import event, inspect
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.orm.attributes import get_history
from sqlalchemy.orm.exc import UnmappedColumnError

from ._errors import BadKey, CrossPartitionWarning, WrongPartition
from ._session import RoutedSession

if TYPE_CHECKING:
    from ._base import BaseRouter


class _Keys:
    """Finds the key in an object, a row or a set of values."""

    def __init__(self, columns: Mapping[str, Mapping[str, str]] | None) -> None:
        self._columns = columns or {}

    def names(self, router: BaseRouter, table: str) -> dict[str, str]:
        """The column of ``table`` for each column of the key."""
        renamed = self._columns.get(table, {})
        return {column: renamed.get(column, column) for column in router.key_columns()}

    def attributes(self, router: BaseRouter, mapper: Any) -> dict[str, str]:
        """The attribute for each column of the key that the mapped tables carry."""
        found: dict[str, str] = {}
        for table in mapper.tables:
            for column, name in self.names(router, getattr(table, "name", "")).items():
                carried = table.columns.get(name)
                if carried is not None:
                    # A class need not map all columns of its tables.
                    with contextlib.suppress(UnmappedColumnError):
                        found[column] = mapper.get_property_by_column(carried).key
        return found

    def of_object(self, router: BaseRouter, instance: Any) -> dict[str, Any]:
        """The key's values that the object has; nothing is loaded for it."""
        state = inspect(instance)
        names = self.attributes(router, state.mapper)
        return {column: state.dict[name] for column, name in names.items() if name in state.dict}

    def before_change(self, router: BaseRouter, instance: Any) -> dict[str, Any]:
        """The key's values that the object had in the database, where they differ."""
        state = inspect(instance)
        old = dict[str, Any]()
        for column, name in self.attributes(router, state.mapper).items():
            gone = get_history(instance, name).deleted if name in state.dict else ()
            if gone:
                old[column] = gone[0]
        return {**self.of_object(router, instance), **old} if old else {}


def _plain(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """The values of an ``insert()`` by names, without their wrapping in bound parameters."""
    return {
        getattr(column, "key", column): getattr(value, "value", value) for column, value in values.items()
    }


class RowGuard:
    """Refuses to write an object in a session of another partition than its own, before and after each flush.

    Looks at the columns of the key; ``columns`` names them per table where they are called otherwise, such as
    ``{"invoice": {"tenant_id": "customer"}}``. A table that carries none of them is left alone, or refused with
    ``missing="raise"``. Also looks at the values of ``insert()`` statements; what other statements write is seen by
    the database only.
    """

    def __init__(
        self,
        columns: Mapping[str, Mapping[str, str]] | None = None,
        *,
        missing: Literal["ignore", "raise"] = "ignore",
    ) -> None:
        self._keys = _Keys(columns)
        self._missing = missing

    def install(self, session_class: type[Session], router: BaseRouter) -> None:
        """See `Guard`."""

        def before_flush(session: Session, context: Any, instances: Any) -> None:
            if session.new or session.dirty or session.deleted:
                # The partition is known once the transaction has found its home.
                session.connection()
                changed = [one for one in session.dirty if session.is_modified(one)]
                self._check(router, session, [*session.new, *changed, *session.deleted], before=True)

        def after_flush(session: Session, context: Any) -> None:
            self._check(router, session, [*session.new, *session.dirty], before=False)

        def on_execute(state: ORMExecuteState) -> None:
            if state.is_insert:
                self._check_insert(router, state)

        event.listen(session_class, "before_flush", before_flush)
        event.listen(session_class, "after_flush", after_flush)
        event.listen(session_class, "do_orm_execute", on_execute)

    def _check(self, router: BaseRouter, session: Session, objects: Iterable[Any], *, before: bool) -> None:
        for one in objects:
            key = self._keys.of_object(router, one)
            if not key and not before and self._missing == "raise":
                raise WrongPartition(
                    f"{type(one).__name__} carries no column of the key, and missing='raise'"
                )
            self._judge(router, session, key, type(one).__name__)
            if before:
                self._judge(router, session, self._keys.before_change(router, one), type(one).__name__)

    def _check_insert(self, router: BaseRouter, state: ORMExecuteState) -> None:
        statement: Any = state.statement
        names = self._keys.names(router, getattr(getattr(statement, "table", None), "name", ""))
        given = state.parameters or {}
        rows: list[Mapping[Any, Any]] = [given] if isinstance(given, Mapping) else list(given)
        inline = _plain(statement._values or {})
        rows += [_plain(dict(row)) for several in statement._multi_values for row in several]
        state.session.connection()
        for row in rows or [{}]:
            values = {**inline, **row}
            key = {column: values[name] for column, name in names.items() if name in values}
            self._judge(router, state.session, key, "a row of insert()")

    def _judge(self, router: BaseRouter, session: Session, key: Mapping[str, Any], what: str) -> None:
        assert isinstance(session, RoutedSession)
        known = {column: value for column, value in key.items() if value is not None}
        if not known:
            return
        try:
            allowed = router.partitions_of(known)
        except BadKey:
            # Not a plain value, such as a function of SQL: the database is to judge.
            return
        if allowed is not None and session.partition is not None and session.partition not in allowed:
            where = ", ".join(allowed[:3])
            raise router._explained(
                WrongPartition(f"{what} belongs to {where}, and its session is one of {session.partition}")
            )


class RelationGuard:
    """Warns (`CrossPartitionWarning`) when a relationship may lead out of the session's partition.

    That is: when a lazy or eager load brings an object of another partition, and when a lazy load looks into a table
    that carries no column of the key and is not one of ``local``, the tables that each home has a copy of.
    """

    def __init__(
        self, columns: Mapping[str, Mapping[str, str]] | None = None, *, local: Iterable[str] = ()
    ) -> None:
        self._keys = _Keys(columns)
        self._local = frozenset(local)

    def install(self, session_class: type[Session], router: BaseRouter) -> None:
        """See `Guard`."""

        def on_execute(state: ORMExecuteState) -> None:
            mapper = state.bind_mapper
            if not state.is_relationship_load or mapper is None:
                return
            tables = {getattr(table, "name", "") for table in mapper.tables}
            if tables & self._local or self._keys.attributes(router, mapper):
                return
            warnings.warn(
                f"a relationship leads to {mapper.class_.__name__}, whose table carries no column of the key: "
                "its rows may live elsewhere",
                CrossPartitionWarning,
                stacklevel=2,
            )

        def loaded(session: Session, instance: Any) -> None:
            assert isinstance(session, RoutedSession)
            key = {c: v for c, v in self._keys.of_object(router, instance).items() if v is not None}
            if not key or session.partition is None:
                return
            allowed = router.partitions_of(key)
            if allowed is not None and session.partition not in allowed:
                warnings.warn(
                    f"{type(instance).__name__} of partition {allowed[0]} was loaded in a session of "
                    f"{session.partition}",
                    CrossPartitionWarning,
                    stacklevel=2,
                )

        event.listen(session_class, "do_orm_execute", on_execute)
        event.listen(session_class, "loaded_as_persistent", loaded)
