"""One statement in many partitions, explicitly."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy.engine import Row
from sqlalchemy.sql import Executable

from ._errors import BadFanOut
from ._routes import Route

if TYPE_CHECKING:
    from ._base import BaseRouter

Partitions: TypeAlias = "str | Iterable[Any] | Callable[[Route], bool] | None"
Statement: TypeAlias = "Executable | Callable[[Route], Executable]"


def fan_out(
    router: BaseRouter, statement: Statement, partitions: Partitions, parallel: int
) -> Iterator[tuple[str, Sequence[Row[Any]]]]:
    """See `BaseRouter.fan_out`."""
    names = _chosen(router, statement, partitions, parallel)
    return _run(router, statement, names, parallel)


def _run(
    router: BaseRouter, statement: Statement, names: list[str], parallel: int
) -> Iterator[tuple[str, Sequence[Row[Any]]]]:
    def one(name: str) -> tuple[str, Sequence[Row[Any]]]:
        with router.session(name) as session:
            session.connection()
            return name, session.execute(_statement(statement, session.route)).all()

    left = iter(names)
    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="replat-fan-out") as pool:
        running: set[Future[tuple[str, Sequence[Row[Any]]]]] = set()
        try:
            while True:
                # No more than are asked for at once, so that nobody's connections are all taken.
                while len(running) < parallel and (name := next(left, None)) is not None:
                    running.add(pool.submit(one, name))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


async def fan_out_async(
    router: BaseRouter, statement: Statement, partitions: Partitions, parallel: int
) -> AsyncIterator[tuple[str, Sequence[Row[Any]]]]:
    """The same for asyncio."""
    names = _chosen(router, statement, partitions, parallel)

    async def one(name: str) -> tuple[str, Sequence[Row[Any]]]:
        async with router.async_session(name) as session:
            await session.connection()
            route = session.sync_session.route  # type: ignore[attr-defined]
            return name, (await session.execute(_statement(statement, route))).all()

    left = iter(names)
    running: set[asyncio.Task[tuple[str, Sequence[Row[Any]]]]] = set()
    try:
        while True:
            while len(running) < parallel and (name := next(left, None)) is not None:
                running.add(asyncio.create_task(one(name)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)


def _statement(statement: Statement, route: Route | None) -> Executable:
    if isinstance(statement, Executable):
        return statement
    if route is None:
        raise BadFanOut("this router has no routes to give to a function")
    return statement(route)


def _chosen(router: BaseRouter, statement: Statement, partitions: Partitions, parallel: int) -> list[str]:
    if parallel < 1:
        raise ValueError("parallel is at least 1")
    if partitions is None:
        names = list(router.partitions())
    elif isinstance(partitions, str):
        if any(sign in partitions for sign in "<>="):
            raise BadFanOut("routes know no sizes: partitions are chosen by a pattern of names or a function")
        names = [name for name in router.partitions() if fnmatch.fnmatchcase(name, partitions)]
    elif callable(partitions):
        routes = [(name, router.route_of(name)) for name in router.partitions()]
        names = [name for name, route in routes if route is not None and partitions(route)]
    else:
        names = list(dict.fromkeys(router.partition_of(target) for target in partitions))
    for name in names:
        # Worker threads know nothing of the caller's scopes.
        router._meant(name)
    if isinstance(statement, Executable):
        _refuse_shared_homes(router, names)
    return names


def _refuse_shared_homes(router: BaseRouter, names: list[str]) -> None:
    homes: dict[object, str] = {}
    for name in names:
        home = router.home_of(name)
        other = homes.setdefault(home, name)
        if other != name:
            raise BadFanOut(
                f"{other} and {name} share a home, where one statement would see the rows of both"
            )
