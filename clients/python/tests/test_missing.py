"""Rows for which no partition is there yet: it is asked for, and the transaction is run again."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import MakeRouter
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from world import World

from replat_sqlalchemy import RoutePolicy

INSERT = text("INSERT INTO visit VALUES (1, CAST(:at AS date), 0)")


def make_table(world: World) -> None:
    schema = world.quoted("blue")
    with world.servers["blue"].connect("app") as connection:
        connection.execute(
            f"CREATE TABLE {schema}.visit (tenant_id bigint, at date, id bigint CHECK (id < 10)) "
            "PARTITION BY LIST (tenant_id)"
        )
        connection.execute(
            f"CREATE TABLE {schema}.visit_1 PARTITION OF {schema}.visit FOR VALUES IN (1) PARTITION BY RANGE (at)"
        )


@contextmanager
def provider(world: World) -> Iterator[list[dict[str, str]]]:
    """Somebody who makes what is asked for; gives what that was."""
    asked: list[dict[str, str]] = []
    ready = threading.Event()
    over = threading.Event()
    schema = world.quoted("blue")

    def listen() -> None:
        with world.servers["blue"].connect("app") as connection:
            connection.execute("LISTEN replat_rotate")
            ready.set()
            while not over.is_set():
                for note in list(connection.notifies(timeout=0.1)):
                    wish = json.loads(note.payload)
                    asked.append(wish)
                    day = wish["until"]
                    connection.execute(
                        f'CREATE TABLE {schema}."visit_{day}" PARTITION OF {schema}.visit_1 '
                        f"FOR VALUES FROM ('{day}') TO (date '{day}' + 1)"
                    )

    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(20)
    try:
        yield asked
    finally:
        over.set()
        thread.join()


def ids(world: World) -> list[str]:
    with world.servers["blue"].connect("app") as connection:
        rows = connection.execute(f"SELECT at::text FROM {world.quoted('blue')}.visit ORDER BY at").fetchall()
    return [row[0] for row in rows]


def test_a_transaction_is_run_again_when_its_partition_is_there(
    world: World, make_router: MakeRouter
) -> None:
    make_table(world)
    router = make_router(policy=RoutePolicy(missing_wait="60s"))
    tries: list[str] = []

    async def visit(session: AsyncSession) -> None:
        tries.append("async")
        await session.execute(INSERT, {"at": dt.date(2031, 2, 1)})

    with provider(world) as asked:
        router.run(
            "acme", lambda session: (tries.append("sync"), session.execute(INSERT, {"at": "2031-01-31"}))
        )
        asyncio.run(router.run_async("acme", visit))
    assert tries.count("sync") > 1 and tries.count("async") > 1
    assert ids(world) == ["2031-01-31", "2031-02-01"], "each once"
    assert [wish["until"] for wish in asked] == ["2031-01-31", "2031-02-01"]
    assert {wish["table"] for wish in asked} == {f"{world.schemas['blue']}.visit"}, "the table at the top"


@pytest.mark.parametrize("wait", ["0", "200ms"])
def test_when_nobody_makes_it_the_error_comes_after_the_limit(
    world: World, make_router: MakeRouter, wait: str
) -> None:
    make_table(world)
    router = make_router(policy=RoutePolicy(missing_wait=float(wait) if wait == "0" else wait))
    tries: list[int] = []

    def visit(session: object) -> None:
        tries.append(1)
        session.execute(INSERT, {"at": "2031-01-31"})  # type: ignore[attr-defined]

    with pytest.raises(IntegrityError, match="no partition"):
        router.run("acme", visit)
    assert (len(tries) == 1) == (wait == "0")
    assert ids(world) == []


def test_a_violated_check_is_no_missing_partition(world: World, make_router: MakeRouter) -> None:
    make_table(world)
    with world.servers["blue"].connect("app") as connection:
        schema = world.quoted("blue")
        connection.execute(f"CREATE TABLE {schema}.rest PARTITION OF {schema}.visit_1 DEFAULT")
    router = make_router(policy=RoutePolicy(missing_wait="60s"))
    tries: list[int] = []

    def visit(session: object) -> None:
        tries.append(1)
        session.execute(text("INSERT INTO visit VALUES (1, '2031-01-31', 99)"))  # type: ignore[attr-defined]

    with pytest.raises(IntegrityError, match="check"):
        router.run("acme", visit)
    assert len(tries) == 1
