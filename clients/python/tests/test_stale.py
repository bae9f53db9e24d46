"""Routes that grow old, and sources that fail."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from conftest import MakeRouter
from sqlalchemy import func, select, text
from world import Invoice, World

from replat_sqlalchemy import RoutePolicy, RoutesStale, RoutesUnavailable


def wait_until_stale(router: object) -> None:
    deadline = time.monotonic() + 10
    while not router.status()["stale"]:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("is_async", [False, True], ids=["psycopg", "asyncpg"])
def test_stale_routes_read_and_do_not_write(world: World, make_router: MakeRouter, is_async: bool) -> None:
    router = make_router(policy=RoutePolicy(max_stale="200ms", max_stale_reads="unlimited"))
    told: list[str] = []
    router.on("stale", lambda **_: told.append("stale"))
    router.on("fresh", lambda **_: told.append("fresh"))
    with router.session("acme") as session:
        session.add(Invoice(tenant_id=1, amount=1))
        session.commit()
    hidden = world.file.with_suffix(".hidden")
    world.file.rename(hidden)
    wait_until_stale(router)
    insert = text("INSERT INTO invoice (tenant_id, amount) VALUES (1, 2)")
    if is_async:

        async def work() -> None:
            async with router.async_session("acme") as session:
                assert await session.scalar(select(func.count()).select_from(Invoice)) == 1
                with pytest.raises(RoutesStale):
                    await session.execute(insert)
            await router.close_async()

        asyncio.run(work())
    else:
        with router.session("acme") as session:
            assert session.scalar(select(func.count()).select_from(Invoice)) == 1
            with pytest.raises(RoutesStale) as caught:
                session.execute(insert)
            assert caught.value.snapshot is not None and (caught.value.snapshot.age or 0) > 0.2
        with router.session("acme") as session:
            session.add(Invoice(tenant_id=1, amount=3))
            with pytest.raises(RoutesStale):
                session.commit()
        with router.session("acme", autoflush=False) as session, pytest.raises(RoutesStale):
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        hidden.rename(world.file)
        assert router.refresh()
        with router.session("acme") as session:
            session.add(Invoice(tenant_id=1, amount=4))
            session.commit()
        assert world.count("blue", 1) == 2
        assert told == ["stale", "fresh"]


@pytest.mark.parametrize("is_async", [False, True], ids=["psycopg", "asyncpg"])
def test_nothing_begins_by_old_routes(world: World, make_router: MakeRouter, is_async: bool) -> None:
    router = make_router(policy=RoutePolicy(max_stale="200ms"))
    told: list[str] = []
    router.on("stale", lambda **_: told.append("stale"))
    router.lookup("acme")
    hidden = world.file.with_suffix(".hidden")
    world.file.rename(hidden)
    wait_until_stale(router)
    if is_async:

        async def work() -> None:
            async with router.async_session("acme") as session:
                with pytest.raises(RoutesStale):
                    await session.execute(text("SELECT 1"))
            await router.close_async()

        asyncio.run(work())
    else:
        with router.session("acme") as session, pytest.raises(RoutesStale) as caught:
            session.execute(text("SELECT 1"))
        assert "max_stale_reads" in str(caught.value.remedy)
        hidden.rename(world.file)
        assert router.refresh()
        with router.session("acme") as session:
            assert session.scalar(text("SELECT 1")) == 1
    assert told == ["stale"]


def test_the_first_routes_are_fresh_as_soon_as_they_are_there(world: World, make_router: MakeRouter) -> None:
    world.file.unlink()
    router = make_router(policy=RoutePolicy(start_wait="20s"))
    seen: list[float | None] = []
    router.on("routes", lambda **_: seen.append(router.status()["age"]))
    world.publish()
    router.lookup("acme")
    while not seen:  # told just after whoever waits goes on
        time.sleep(0.01)
    assert len(seen) == 1 and seen[0] is not None


@pytest.mark.parametrize("reads", ["10ms", "never", -1])
def test_reads_do_not_end_before_writes(reads: str | int) -> None:
    with pytest.raises(ValueError):
        RoutePolicy(max_stale="200ms", max_stale_reads=reads)
    assert RoutePolicy(max_stale="200ms").reads_end_after() == 0.2
    assert RoutePolicy(max_stale="200ms", max_stale_reads="200ms").reads_end_after() == 0.2


def test_reads_can_be_refused_too(world: World, make_router: MakeRouter) -> None:
    router = make_router(policy=RoutePolicy(max_stale="50ms", max_stale_reads="150ms"))
    router.lookup("acme")
    world.file.unlink()
    wait_until_stale(router)
    deadline = time.monotonic() + 10
    with router.session("acme") as session:
        while True:
            try:
                session.scalar(text("SELECT 1"))
            except RoutesStale:
                break
            session.rollback()
            assert time.monotonic() < deadline


def test_no_routes_yet(world: World, make_router: MakeRouter) -> None:
    world.file.unlink()
    router = make_router(policy=RoutePolicy(start_wait="50ms"))
    with router.session("acme") as session, pytest.raises(RoutesUnavailable) as caught:
        session.connection()
    assert caught.value.snapshot is not None and caught.value.snapshot.age is None
    patient = make_router(policy=RoutePolicy(start_wait="20s"))
    publishing = threading.Timer(0.1, world.publish)
    publishing.start()
    with patient.session("acme") as session:
        assert session.scalar(text("SELECT 1")) == 1
    publishing.join()


def test_unknown_partition_can_be_asked_for_once_more(world: World, make_router: MakeRouter) -> None:
    router = make_router(policy=RoutePolicy(unknown_partition="refresh"))
    assert router.lookup("acme").epoch == 1
    with router.session("later") as session:
        adding = threading.Thread(target=_rename_rest, args=(world,))
        adding.start()
        session.connection()
        assert session.partition == "later"
        adding.join()


def _rename_rest(world: World) -> None:
    document = world.envelope()
    body = document["body"].replace('["rest"', '["later"')
    from replat_sqlalchemy import seal

    world.publish(seal("ledgerly", "billing", world.version, body, at=document["at"]))
