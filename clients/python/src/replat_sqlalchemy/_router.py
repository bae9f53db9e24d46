"""The router: follows a context's routes, and leads each transaction to its partition's home."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Connection

from ._async import wait_in_greenlet
from ._base import BaseRouter, Guard
from ._errors import (
    ManyPartitions,
    PartitionHeld,
    RouterError,
    RouteSnapshot,
    RoutesStale,
    RoutesUnavailable,
    UnknownPartition,
)
from ._follower import Follower
from ._map import Leaf
from ._policy import Login, RoutePolicy, Secret, reveal, seconds
from ._pools import Pools, sync_of
from ._region import clause
from ._routes import Route, Routes
from ._session import Pin, RoutedSession
from ._source import RouteSource, source_from_url
from ._tables import TableName, entity_name, find_table
from ._target import PartitionOrKey, key_of

_log: Final = logging.getLogger("replat_sqlalchemy")
EVENTS: Final = ("begin_switch", "switched", "rolled_back", "stale", "fresh", "routes")
"""What `Router.on` can listen to."""

Callback = Callable[..., object]


@dataclass(frozen=True, slots=True)
class _Wait:
    """What keeps a transaction from beginning."""

    done: Callable[[], bool]
    limit: float
    """Seconds that it may wait for this in all."""
    once: float
    """Seconds after which it should look again, even if nobody said that anything changed."""
    error: RouterError
    partition: str | None = None


class Router(BaseRouter):
    """Gives sessions that go to their partition's home, wherever that is by now.

    Safe for threads and tasks; one for a process and a context is enough. Threads and connections are made again in
    a process that was forked.
    """

    def __init__(
        self,
        source: RouteSource,
        *,
        project: str,
        context: str,
        key: Secret | bytes | None = None,
        login: Login | None = None,
        engine_options: Mapping[str, Any] | None = None,
        policy: RoutePolicy | None = None,
        guards: Sequence[Guard] = (),
    ) -> None:
        policy = policy or RoutePolicy()
        super().__init__(context, policy, guards)
        self.project: Final = project
        self._max_stale = seconds(policy.max_stale)
        self._callbacks: dict[str, list[Callback]] = {name: [] for name in EVENTS}
        self._told_stale = False
        self._follower = Follower(
            source,
            project=project,
            context=context,
            key=_key(key),
            every=max(0.05, min(5.0, self._max_stale / 3 if self._max_stale else 1.0)),
            tell=self._tell,
        )
        self._pools = Pools(login or Login(), policy, engine_options or {}, self._heard_refusal)
        self._process = os.getpid()
        self._fork_lock = threading.Lock()
        self._follower.ensure_running()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        project: str,
        context: str,
        token: Secret | None = None,
        key: Secret | bytes | None = None,
        login: Login | None = None,
        engine_options: Mapping[str, Any] | None = None,
        policy: RoutePolicy | None = None,
        guards: Sequence[Guard] = (),
        source_options: Mapping[str, Any] | None = None,
    ) -> Router:
        """A router whose routes come from ``file:PATH``, ``http(s)://…/api/v1`` or ``postgresql://…``.

        ``token`` is the HTTP API's token, or the password of the PostgreSQL registry. ``key`` is the project's key in
        hexadecimal, such as ``FileToken("replat.key")``, or its bytes: with it, routes that are not signed are refused.
        """
        options = dict(source_options or {})
        source = source_from_url(url, project=project, context=context, token=token, options=options)
        return cls(
            source,
            project=project,
            context=context,
            key=key,
            login=login,
            engine_options=engine_options,
            policy=policy,
            guards=guards,
        )

    # What is known

    def lookup(self, partition_or_key: PartitionOrKey) -> Route:
        """Where the partition's requests go now. Waits only for the first routes."""
        routes = self._routes()
        return routes.route(self._leaf(routes, partition_or_key))

    def lookup_all(self, partition_or_key: PartitionOrKey) -> list[Route]:
        """Where requests go whose key is known in part: all partitions that can hold it."""
        routes = self._routes()
        key = key_of(partition_or_key, routes.map.dimensions)
        if key is None:
            return [routes.route(self._leaf(routes, partition_or_key))]
        return [routes.route(leaf) for leaf in routes.map.lookup_partial(key)]

    def on(self, event: str, callback: Callback) -> None:
        """Calls ``callback(**facts)`` in the follower's thread: see `EVENTS`. It must not block for long."""
        if event not in self._callbacks:
            raise ValueError(f"{event!r} is no event; there are {', '.join(EVENTS)}")
        self._callbacks[event].append(callback)

    def status(self) -> dict[str, Any]:
        """What the router knows, for a health page: project, context, version, age, holds, pools, fault."""
        snapshot = self._follower.snapshot()
        fault = self._follower.fault
        return {
            "project": self.project,
            "context": self.context,
            "version": snapshot.version,
            "age": snapshot.age,
            "stale": self._is_stale(snapshot.age),
            "holds": sorted(self._follower.gate.holds()),
            "pools": self._pools.count(),
            "fault": None if fault is None else str(fault),
            "events": list(snapshot.events),
        }

    def refresh(self, timeout: float = 5.0) -> bool:
        """Asks the source at once; whether it answered in time."""
        deadline = time.monotonic() + timeout
        # A read that is under way may have begun before what the caller knows of, so two are waited for.
        for _ in range(2):
            before = self._follower.reads_begun()
            self._follower.ask()
            if not self._follower.signal.wait(
                partial(self._read_since, before), max(0.0, deadline - time.monotonic())
            ):
                return False
        return True

    def _read_since(self, count: int) -> bool:
        return self._follower.reads_begun() > count

    def table_for(
        self, entity: object, partition_or_key: PartitionOrKey, values: Mapping[str, object] | None = None
    ) -> TableName:
        """The physical table, in the key's home, that takes a row of ``entity`` (a class, a `Table` or a name).

        Asks the home. ``values`` are those of other columns that the table is partitioned by, such as a month.
        """
        with self.session(partition_or_key) as session:
            connection = session.connection()
            return self._table(connection, session.route, entity, partition_or_key, values)

    async def table_for_async(
        self, entity: object, partition_or_key: PartitionOrKey, values: Mapping[str, object] | None = None
    ) -> TableName:
        """The same for asyncio."""
        async with self.async_session(partition_or_key) as session:
            connection = await session.connection()
            route = cast(RoutedSession, session.sync_session).route
            return await connection.run_sync(self._table, route, entity, partition_or_key, values)

    def _table(
        self,
        connection: Connection,
        route: Route | None,
        entity: object,
        target: PartitionOrKey,
        values: Mapping[str, object] | None,
    ) -> TableName:
        assert route is not None
        dimensions = self._routes().map.dimensions
        key = key_of(target, dimensions) or []
        given = {
            d.column: d.key_type.text_of(v) for d, v in zip(dimensions, key, strict=False) if v is not None
        }
        given |= {name: str(value) for name, value in (values or {}).items()}
        return find_table(connection, route.schema, entity_name(entity), given)

    def region_clause(
        self, partition_or_key: PartitionOrKey, columns: Mapping[str, ColumnElement[Any]]
    ) -> ColumnElement[bool]:
        """What the rows of a partition satisfy, as a WHERE clause; ``columns`` are the key's, by name."""
        map_ = self._routes().map
        region = map_.region(self.partition_of(partition_or_key))
        assert region is not None
        return clause(region, columns)

    def close(self) -> None:
        """Ends the follower and closes idle connections."""
        self._follower.close()
        self._pools.close()

    async def close_async(self) -> None:
        """The same from an event loop, whose connections are closed in order."""
        self._follower.close()
        await self._pools.close_async()

    def __enter__(self) -> Router:
        """The router itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    # What a base router asks

    def partition_of(self, partition_or_key: PartitionOrKey) -> str:
        """The name of the partition that is meant."""
        return self._leaf(self._routes(), partition_or_key).partition

    def partitions_of(self, key: Mapping[str, Any]) -> list[str] | None:
        """The partitions that can hold a row with these columns."""
        map_ = self._routes().map
        values = [
            None if key.get(d.column) is None else d.key_type.of(key[d.column]) for d in map_.dimensions
        ]
        return [leaf.partition for leaf in map_.lookup_partial(values)]

    def key_columns(self) -> Sequence[str]:
        """The columns of the key."""
        return [dimension.column for dimension in self._routes().map.dimensions]

    def partitions(self) -> Iterable[str]:
        """All partitions."""
        return [leaf.partition for leaf in self._routes().map.leaves()]

    def route_of(self, partition: str) -> Route | None:
        """Where a partition's requests go."""
        return self.lookup(partition)

    def home_of(self, partition: str) -> object:
        """The database and the schema."""
        route = self.lookup(partition)
        return (route.address, route.schema)

    # The way of one transaction

    def _pin(self, owner: RoutedSession, target: PartitionOrKey | None, is_async: bool) -> Pin:
        meant = self._meant(target)
        if is_async:
            return self._pin_async(owner, meant)
        begun = time.monotonic()
        while True:
            step = self._step(owner, meant, False)
            if isinstance(step, Pin):
                return step
            with _Counted(self._follower, step.partition):
                if not self._follower.signal.wait(step.done, self._patience(step, begun)):
                    self._give_up(step, begun)

    def _pin_async(self, owner: RoutedSession, meant: PartitionOrKey) -> Pin:
        begun = time.monotonic()
        while True:
            step = self._step(owner, meant, True)
            if isinstance(step, Pin):
                return step
            wait, patience = step, self._patience(step, begun)
            with _Counted(self._follower, step.partition):
                if not wait_in_greenlet(partial(self._follower.signal.wait_async, wait.done, patience)):
                    self._give_up(step, begun)

    def _patience(self, step: _Wait, begun: float) -> float:
        return max(0.0, min(step.once, begun + step.limit - time.monotonic()))

    def _give_up(self, step: _Wait, begun: float) -> None:
        if time.monotonic() - begun >= step.limit:
            raise self._explained(step.error, step.partition)

    def _step(self, owner: RoutedSession, meant: PartitionOrKey, is_async: bool) -> Pin | _Wait:
        """Decides without waiting: where the transaction goes, or what it waits for."""
        self._mind_forks()
        follower = self._follower
        routes = follower.routes
        if routes is None:
            return self._first_routes()
        age = self._checked_age()
        try:
            leaf = self._leaf(routes, meant)
        except UnknownPartition as why:
            if self.policy.unknown_partition == "raise":
                raise
            seen = follower.reads_begun()
            follower.ask()
            # Two reads: the one under way may have begun too early to know of a new partition.
            return _Wait(
                lambda: follower.reads_begun() > seen + 1 or follower.routes is not routes, 1.0, 0.1, why
            )
        if follower.gate.heard(leaf.partition) > leaf.epoch:
            return self._behind(leaf)
        hold = follower.gate.enter(owner, leaf.partition, leaf.epoch, reads=owner._replat_read_only)
        if hold is not None:
            return self._held(leaf, hold.until)
        # Announced first, then looked again: whoever closed the gate in between has seen us, or we see the change.
        now = follower.routes
        if now is not None and now is not routes and now.map.leaf(leaf.partition) != leaf:
            follower.gate.leave(owner, leaf.partition)
            return self._step(owner, meant, is_async)
        route = routes.route(leaf)
        try:
            if is_async:
                engine = sync_of(self._pools.async_engine(route.address, route.schema))
            else:
                engine = self._pools.engine(route.address, route.schema)
        except BaseException:
            follower.gate.leave(owner, leaf.partition)
            raise
        return Pin(leaf.partition, engine, route, stale=self._is_stale(age))

    def _first_routes(self) -> _Wait:
        follower = self._follower
        if follower.fault is not None:
            raise self._explained(follower.fault)
        error = RoutesUnavailable(f"there are no routes of {self.project}/{self.context} yet")
        limit = seconds(self.policy.start_wait)
        return _Wait(lambda: follower.routes is not None or follower.fault is not None, limit, limit, error)

    def _behind(self, leaf: Leaf) -> _Wait:
        """A database has spoken of a later epoch: to go there by these routes would only be refused."""
        follower = self._follower
        error = RoutesStale(f"a database knows a later home of partition {leaf.partition} than the routes")
        if self.policy.on_switch == "raise":
            raise self._explained(error, leaf.partition)
        follower.ask()

        def caught_up() -> bool:
            routes = follower.routes
            return routes is not None and routes.map.leaf(leaf.partition) != leaf

        limit = seconds(self.policy.switch_wait)
        return _Wait(caught_up, limit, limit, error, leaf.partition)

    def _held(self, leaf: Leaf, until: float) -> _Wait:
        follower = self._follower
        error = PartitionHeld(f"partition {leaf.partition} is held for a switch")
        if self.policy.on_switch == "raise":
            raise self._explained(error, leaf.partition)

        def released() -> bool:
            routes = follower.routes
            now = None if routes is None else routes.map.leaf(leaf.partition)
            return now != leaf or not follower.gate.is_held(leaf.partition, leaf.epoch)

        once = max(0.001, until - time.monotonic())
        return _Wait(released, seconds(self.policy.switch_wait), once, error, leaf.partition)

    def _unpin(self, owner: RoutedSession, pin: Pin) -> None:
        if self._follower.gate.leave(owner, pin.partition):
            # A switch waits to hear of this.
            self._follower.ask()

    def _wait_for_move(self, pin: Pin, timeout: float) -> bool:
        self._follower.ask()
        return self._follower.signal.wait(lambda: self._has_moved(pin), timeout)

    async def _wait_for_move_async(self, pin: Pin, timeout: float) -> bool:
        self._follower.ask()
        return await self._follower.signal.wait_async(lambda: self._has_moved(pin), timeout)

    def _has_moved(self, pin: Pin) -> bool:
        routes = self._follower.routes
        if routes is None or pin.route is None or routes.version <= pin.route.version:
            return False
        leaf = routes.map.leaf(pin.partition)
        return leaf is None or leaf.epoch > pin.route.epoch

    # Parts

    def _routes(self) -> Routes:
        """The routes, after waiting for the first ones."""
        self._mind_forks()
        routes = self._follower.routes
        if routes is None:
            step = self._first_routes()
            self._follower.signal.wait(step.done, step.limit)
            routes = self._follower.routes
            if routes is None:
                raise self._explained(self._follower.fault or step.error)
        return routes

    def _leaf(self, routes: Routes, target: PartitionOrKey) -> Leaf:
        key = key_of(target, routes.map.dimensions)
        if key is None:
            assert isinstance(target, str)
            leaf = routes.map.leaf(target.strip())
            if leaf is None:
                raise self._explained(UnknownPartition(f"{self.context} has no partition {target!r}"))
            return leaf
        found = routes.map.lookup_partial(key)
        if len(found) > 1:
            names = ", ".join(leaf.partition for leaf in found[:5])
            raise self._explained(
                ManyPartitions(
                    f"the key leaves {len(found)} partitions open: {names}{', …' if found[5:] else ''}"
                )
            )
        return found[0]

    def _checked_age(self) -> float | None:
        age = self._follower.age()
        stale = self._is_stale(age)
        if stale != self._told_stale:
            self._told_stale = stale
            self._tell("stale" if stale else "fresh", {"age": age})
        if age is None or age > self.policy.reads_end_after():
            raise self._explained(RoutesStale("the routes are too old to go by"))
        return age

    def _is_stale(self, age: float | None) -> bool:
        return age is None or age > self._max_stale

    def _explained(self, error: RouterError, partition: str | None = None) -> RouterError:
        return error.with_snapshot(self._follower.snapshot(partition))

    def _tell(self, event: str, facts: dict[str, object]) -> None:
        if event == "routes":
            self._close_unused()
        for callback in list(self._callbacks[event]):
            try:
                callback(**facts)
            except Exception:
                _log.exception("a callback of %s failed", event)

    def _close_unused(self) -> None:
        routes = self._follower._routes
        if routes is None or self._pools.count() == 0:
            return
        homes = {leaf.home for leaf in routes.map.by_name().values()}
        self._pools.keep_only({(routes.addresses[home.database], home.schema) for home in homes})

    def _heard_refusal(self, partition: str | None, epoch: int | None) -> RouteSnapshot:
        """What is known at the moment of a database's error, which may tell more."""
        if partition is not None and epoch is not None:
            self._follower.gate.hear(partition, epoch)
        return self._follower.snapshot(partition)

    def _mind_forks(self) -> None:
        if self._process == os.getpid():
            return
        with self._fork_lock:
            if self._process != os.getpid():
                self._pools.forget()
                self._process = os.getpid()


class _Counted:
    """Counts who waits for a partition."""

    def __init__(self, follower: Follower, partition: str | None) -> None:
        self._follower, self._partition = follower, partition

    def __enter__(self) -> None:
        if self._partition is not None:
            self._follower.gate.wait_counted(self._partition, 1)

    def __exit__(self, *_: object) -> None:
        if self._partition is not None:
            self._follower.gate.wait_counted(self._partition, -1)


def _key(key: Secret | bytes | None) -> bytes | None:
    return key if key is None or isinstance(key, bytes) else bytes.fromhex(reveal(key).strip())
