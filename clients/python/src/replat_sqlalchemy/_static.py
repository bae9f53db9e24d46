"""A router without routes, for unit tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from ._base import BaseRouter, Guard
from ._errors import RouterError, RouteSnapshot, UnknownPartition
from ._policy import RoutePolicy
from ._pools import sync_of, watch
from ._routes import Route
from ._session import Pin, RoutedSession
from ._target import PartitionOrKey


class StaticRouter(BaseRouter):
    """Partitions by name, each on an engine of its own that the caller made; nothing is followed."""

    def __init__(
        self,
        engines: Mapping[str, Engine | AsyncEngine],
        *,
        context: str = "static",
        policy: RoutePolicy | None = None,
        guards: Sequence[Guard] = (),
    ) -> None:
        super().__init__(context, policy or RoutePolicy(), guards)
        self._engines = dict(engines)
        for engine in {id(e): e for e in self._engines.values()}.values():
            watch(sync_of(engine), self._heard)

    def partition_of(self, partition_or_key: PartitionOrKey) -> str:
        """The name that is meant; there are no keys here."""
        if isinstance(partition_or_key, str) and partition_or_key in self._engines:
            return partition_or_key
        raise self._explained(UnknownPartition(f"{self.context} has no partition {partition_or_key!r}"))

    def partitions_of(self, key: Mapping[str, Any]) -> list[str] | None:
        """Nothing is known of keys."""
        return None

    def key_columns(self) -> Sequence[str]:
        """Nothing is known of keys."""
        return ()

    def partitions(self) -> Iterable[str]:
        """All partitions."""
        return list(self._engines)

    def route_of(self, partition: str) -> Route | None:
        """There are no routes."""
        return None

    def home_of(self, partition: str) -> object:
        """The engine."""
        return id(self._engines[partition])

    def _pin(self, owner: RoutedSession, target: PartitionOrKey | None, is_async: bool) -> Pin:
        partition = self.partition_of(self._meant(target))
        engine = self._engines[partition]
        if isinstance(engine, AsyncEngine) != is_async:
            kind = "an async session" if is_async else "an ordinary session"
            raise RouterError(f"the engine of {partition} is not one for {kind}")
        return Pin(partition, sync_of(engine), None)

    def _unpin(self, owner: RoutedSession, pin: Pin) -> None:
        pass

    def _wait_for_move(self, pin: Pin, timeout: float) -> bool:
        return False

    async def _wait_for_move_async(self, pin: Pin, timeout: float) -> bool:
        return False

    def _heard(self, partition: str | None, epoch: int | None) -> RouteSnapshot:
        return RouteSnapshot("static", self.context, 0, None, partition)

    def _explained(self, error: RouterError) -> RouterError:
        return error.with_snapshot(self._heard(None, None))
