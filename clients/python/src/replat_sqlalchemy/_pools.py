"""One engine, and so one pool of connections, for each home that is in use."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import URL, create_engine, event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ._errors import OutcomeUnknown, PartitionSwitched, RouterError, RouteSnapshot, RoutesStale
from ._policy import Login, RoutePolicy, reveal
from ._routes import Address
from ._sqlstate import READ_ONLY, closed, commit_may_have_happened, sqlstate

_COMMITTING: Final = "replat.committing"
READ_ONLY_MARK: Final = "replat.read_only"
"""In ``connection.info``: this transaction was made read-only because routes were stale."""


Heard = Callable[["str | None", "int | None"], RouteSnapshot]
"""Takes the partition and the epoch of which a database has spoken, if it has, and gives what is known."""


def quote_ident(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def sync_of(engine: Engine | AsyncEngine) -> Engine:
    """The engine that a session works with."""
    return engine.sync_engine if isinstance(engine, AsyncEngine) else engine


def watch(engine: Engine, heard: Heard) -> None:
    """Lets an engine's errors say what they mean for routing, also outside of sessions."""

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.info.pop(_COMMITTING, None)
        connection.info.pop(READ_ONLY_MARK, None)

    @event.listens_for(engine, "commit")
    def committing(connection: Connection) -> None:
        connection.info[_COMMITTING] = True

    @event.listens_for(engine, "rollback")
    def rolling_back(connection: Connection) -> None:
        # A lost connection has no info any more, and its rollback changes nothing.
        with contextlib.suppress(Exception):
            connection.info.pop(_COMMITTING, None)

    @event.listens_for(engine, "handle_error", retval=True)
    def explain(context: ExceptionContext) -> RouterError | None:
        orig = context.original_exception
        refused = closed(orig)
        if refused is not None:
            switched = PartitionSwitched(
                context.statement,
                None,
                orig,
                partition=refused.partition,
                epoch=refused.epoch,
                home=refused.home,
                switching=refused.switching,
            )
            return switched.with_snapshot(heard(refused.partition, refused.epoch))
        info = _info(context)
        if context.statement is None and info.get(_COMMITTING):
            if commit_may_have_happened(orig):
                return OutcomeUnknown(orig).with_snapshot(heard(None, None))
        elif info.get(READ_ONLY_MARK) and sqlstate(orig) == READ_ONLY:
            return RoutesStale(
                "the routes are too old to write by; the database refused it in a read-only transaction"
            ).with_snapshot(heard(None, None))
        return None


def _info(context: ExceptionContext) -> Mapping[str, Any]:
    connection = context.connection
    if connection is None:
        return {}
    # `Connection.info` of a broken connection would reconnect; the record below it does not.
    fairy = getattr(connection, "_dbapi_connection", None)
    info = getattr(fairy, "info", None)
    return info if isinstance(info, dict) else {}


@dataclass(frozen=True, slots=True)
class _Place:
    """What has a pool of its own."""

    address: Address
    schema: str
    loop: int | None
    """The event loop of an async engine, whose connections belong to it."""


class Pools:
    """The engines of the homes in use; the least recently used one gives way when there are too many.

    An engine that gives way closes its idle connections at once, and those in use at the end of their transactions.
    """

    def __init__(
        self,
        login: Login,
        policy: RoutePolicy,
        engine_options: Mapping[str, Any],
        heard: Heard,
    ) -> None:
        self._login = login
        self._policy = policy
        self._options = dict(engine_options)
        self._heard = heard
        self._lock = threading.Lock()
        self._engines: OrderedDict[_Place, Engine | AsyncEngine] = OrderedDict()
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}

    def engine(self, address: Address, schema: str) -> Engine:
        """The engine of ordinary sessions."""
        found = self._get(_Place(address, schema, None))
        assert isinstance(found, Engine)
        return found

    def async_engine(self, address: Address, schema: str) -> AsyncEngine:
        """The engine of async sessions in the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._loops[id(loop)] = loop
        found = self._get(_Place(address, schema, id(loop)))
        assert isinstance(found, AsyncEngine)
        return found

    def keep_only(self, places: set[tuple[Address, str]]) -> None:
        """Closes the pools of homes in which no partition lives any more."""
        with self._lock:
            gone = [place for place in self._engines if (place.address, place.schema) not in places]
            closing = [(place, self._engines.pop(place)) for place in gone]
        for place, engine in closing:
            self._dispose(place, engine)

    def forget(self) -> None:
        """After a fork: the connections are the parent's, and are neither used nor closed here."""
        self._lock = threading.Lock()
        engines = list(self._engines.values())
        self._engines = OrderedDict()
        for engine in engines:
            sync_of(engine).dispose(close=False)

    def close(self) -> None:
        """Closes all idle connections."""
        self.keep_only(set())

    async def close_async(self) -> None:
        """Closes all idle connections, those of this event loop in order."""
        loop = id(asyncio.get_running_loop())
        with self._lock:
            mine = [place for place in self._engines if place.loop == loop]
            closing = [self._engines.pop(place) for place in mine]
        for engine in closing:
            assert isinstance(engine, AsyncEngine)
            await engine.dispose()
        self.close()

    def count(self) -> int:
        """How many pools there are."""
        with self._lock:
            return len(self._engines)

    def _get(self, place: _Place) -> Engine | AsyncEngine:
        closing: list[tuple[_Place, Engine | AsyncEngine]] = []
        with self._lock:
            found = self._engines.get(place)
            if found is None:
                found = self._create(place)
                self._engines[place] = found
                while len(self._engines) > self._policy.pools_max:
                    closing.append(self._engines.popitem(last=False))
            else:
                self._engines.move_to_end(place)
        for old_place, engine in closing:
            self._dispose(old_place, engine)
        return found

    def _create(self, place: _Place) -> Engine | AsyncEngine:
        login, address = self._login, place.address
        is_async = place.loop is not None
        driver = login.async_driver if is_async else login.driver
        options = dict(self._options)
        arguments = {**login.connect_args, **options.pop("connect_args", {})}
        query: dict[str, Any] = dict(login.query)
        host: str | None = address.host
        if address.host.startswith("/"):
            # The folder of a Unix socket cannot stand where a URL has its host.
            host = None
            arguments["host"] = address.host
            arguments.setdefault("port", address.port)
        url = URL.create(
            f"postgresql+{driver}",
            login.user,
            None,
            host,
            address.port if host else None,
            address.dbname,
            query,
        )
        set_later = self._choose_schema(driver, place.schema, arguments, options)
        engine: Engine | AsyncEngine
        if is_async:
            engine = create_async_engine(url, connect_args=arguments, **options)
            sync = engine.sync_engine
        else:
            engine = sync = create_engine(url, connect_args=arguments, **options)
        if login.password is not None:
            secret = login.password

            @event.listens_for(sync, "do_connect")
            def give_password(dialect: Any, record: Any, cargs: Any, cparams: dict[str, Any]) -> None:
                cparams["password"] = reveal(secret)

        if set_later is not None:
            event.listen(sync, "connect", set_later)
        watch(sync, self._heard)
        return engine

    def _choose_schema(
        self, driver: str, schema: str, arguments: dict[str, Any], options: dict[str, Any]
    ) -> Callable[[Any, Any], None] | None:
        """Lets connections find the home's tables; what is still to be done when one is open."""
        if self._policy.schema == "translate":
            execution = dict(options.get("execution_options", {}))
            execution["schema_translate_map"] = {None: schema, **execution.get("schema_translate_map", {})}
            options["execution_options"] = execution
            return None
        path = ", ".join(quote_ident(name) for name in (schema, *self._policy.search_path_after))
        if driver == "asyncpg":
            arguments["server_settings"] = {**arguments.get("server_settings", {}), "search_path": path}
            return None
        if driver in ("psycopg", "psycopg_async", "psycopg2"):
            escaped = path.replace("\\", "\\\\").replace(" ", "\\ ")
            arguments["options"] = f"{arguments.get('options', '')} -c search_path={escaped}".strip()
            return None

        def set_path(connection: Any, record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(f"SET SESSION search_path = {path}")
            cursor.close()
            connection.commit()

        return set_path

    def _dispose(self, place: _Place, engine: Engine | AsyncEngine) -> None:
        if isinstance(engine, Engine):
            engine.dispose()
            return
        loop = None if place.loop is None else self._loops.get(place.loop)
        if loop is None or loop.is_closed():
            engine.sync_engine.dispose(close=False)
            return

        def begin() -> None:
            task = loop.create_task(engine.dispose())
            _disposals.add(task)
            task.add_done_callback(_disposals.discard)

        try:
            loop.call_soon_threadsafe(begin)
        except RuntimeError:
            engine.sync_engine.dispose(close=False)


_disposals: set[asyncio.Task[None]] = set()
