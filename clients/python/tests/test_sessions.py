from __future__ import annotations

import asyncio
import contextlib
import os
import threading

import pytest
from conftest import MakeRouter
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session
from world import Base, Customer, Invoice, World

from replat_sqlalchemy import (
    ManyPartitions,
    NoPartition,
    PartitionLocked,
    RoutePolicy,
    RouterError,
    UnknownPartition,
    partition_scope,
)


def test_two_tenants_on_two_servers(world: World, make_router: MakeRouter) -> None:
    router = make_router()
    for partition, tenant in (("acme", 1), ("globex", 2)):
        with router.session(partition) as session:
            session.add(Invoice(tenant_id=tenant, amount=tenant * 100))
            assert session.route is None, "a route belongs to a transaction"
            session.commit()
    with router.session((1,)) as session:
        assert session.scalars(select(Invoice.amount)).all() == [100]
        assert session.route is not None and session.route.database == "blue"
        assert session.execute(text("SELECT amount FROM invoice")).scalar_one() == 100, (
            "raw SQL is routed too"
        )
    with router.session({"tenant_id": 2}) as session:
        assert session.scalars(select(Invoice.amount)).all() == [200]
        assert session.scalar(text("SHOW search_path")) == '"bill""ing g"'
    assert (world.count("blue", 1), world.count("green", 2)) == (1, 1)
    assert (world.count("blue", 2), world.count("green", 1)) == (0, 0)


def test_async_sessions(world: World, make_router: MakeRouter) -> None:
    router = make_router()

    async def work() -> None:
        async def one(partition: str, tenant: int) -> None:
            async with router.async_session(partition) as session:
                session.add_all([Invoice(tenant_id=tenant, amount=n) for n in range(3)])
                await session.commit()
                query = select(func.sum(Invoice.amount)).where(Invoice.tenant_id == tenant)
                assert await session.scalar(query) == 3

        await asyncio.gather(one("acme", 1), one("globex", 2), one("rest", 7))
        maker = router.async_sessionmaker(partition_of=lambda info: info["tenant"])
        async with maker(info={"tenant": "globex"}) as session:
            assert await session.scalar(select(func.count()).select_from(Invoice)) == 3
            assert await session.scalar(text("SHOW search_path")) == '"bill""ing g"'
        await router.close_async()

    asyncio.run(work())
    # Another loop has connections of its own.
    assert (world.count("blue", 1), world.count("green", 2), world.count("blue", 7)) == (3, 3, 3)


def test_schema_translate_map(world: World, make_router: MakeRouter) -> None:
    router = make_router(policy=RoutePolicy(schema="translate"))
    with router.session("globex") as session:
        session.add(Invoice(tenant_id=2, amount=5))
        session.commit()
        assert session.scalars(select(Invoice.amount)).all() == [5]
    assert world.count("green", 2) == 1


def test_route_is_pinned_in_a_transaction(world: World, make_router: MakeRouter) -> None:
    router = make_router()
    with router.session("acme") as session:
        session.add(Invoice(tenant_id=1, amount=1))
        session.flush()
        world.move("acme", "green")
        assert router.refresh()
        assert router.lookup("acme").database == "green"
        session.add(Invoice(tenant_id=1, amount=2))
        session.flush()
        assert session.route is not None and session.route.database == "blue"
        session.commit()
        assert session.scalar(select(func.count()).select_from(Invoice)) == 0, (
            "the next one goes to the new home"
        )
    assert (world.count("blue", 1), world.count("green", 1)) == (2, 0)


def test_a_savepoint_does_not_end_the_pin(world: World, make_router: MakeRouter) -> None:
    router = make_router()
    with router.session("acme") as session, session.begin():
        with contextlib.suppress(ZeroDivisionError), session.begin_nested():
            session.add(Invoice(tenant_id=1, amount=1))
            session.flush()
            world.move("acme", "green")
            router.refresh()
            raise ZeroDivisionError
        session.add(Invoice(tenant_id=1, amount=2))
    assert (world.count("blue", 1), world.count("green", 1)) == (1, 0)


def test_scopes(world: World, make_router: MakeRouter) -> None:
    router = make_router()
    with pytest.raises(NoPartition):
        router.session()
    with partition_scope("acme", lock=True):
        with router.session() as session:
            session.connection()
            assert session.partition == "acme"
        with router.session((1,)) as session:
            session.connection()
            assert session.partition == "acme", "the same partition by its key"
        with pytest.raises(PartitionLocked):
            router.session("globex")
        with pytest.raises(PartitionLocked), partition_scope("globex"):
            pass
        with pytest.raises(PartitionLocked):
            next(router.fan_out(select(Invoice), partitions=["globex"]))
        maker = router.sessionmaker(partition_of=lambda info: info.get("tenant"))
        with maker(info={"tenant": "globex"}) as session, pytest.raises(PartitionLocked):
            session.connection()
        with maker() as session:
            session.connection()
            assert session.partition == "acme"
    with partition_scope("acme"), partition_scope("globex"), router.session() as session:
        session.connection()
        assert session.partition == "globex"
    with partition_scope("acme", context="other"), pytest.raises(NoPartition):
        router.session()

    seen: list[str | None] = []

    async def task(name: str) -> None:
        with partition_scope(name):
            await asyncio.sleep(0)
            async with router.async_session() as session:
                await session.connection()
                seen.append(session.sync_session.partition)  # type: ignore[attr-defined]

    async def both() -> None:
        await asyncio.gather(task("acme"), task("globex"))
        await router.close_async()

    asyncio.run(both())
    assert sorted(map(str, seen)) == ["acme", "globex"]


def test_what_is_not_a_partition(world: World, make_router: MakeRouter) -> None:
    router = make_router()
    with router.session("acme2") as session, pytest.raises(UnknownPartition) as caught:
        session.connection()
    assert caught.value.snapshot is not None and caught.value.snapshot.version == 1
    with router.session({}) as session, pytest.raises(ManyPartitions):
        session.connection()
    with pytest.raises(RouterError):
        router.lookup({"tenant": 1})
    with pytest.raises(RouterError):
        router.lookup((1, 2))
    with pytest.raises(RouterError):
        router.lookup((True,))
    assert router.lookup("tenant_id=1").partition == "acme"
    assert router.lookup(99).partition == "rest"
    assert [route.partition for route in router.lookup_all({})] == ["rest", "acme", "globex"]
    with pytest.raises(TypeError):
        router.session("acme", bind=object())


def test_session_factory_keeps_the_class(world: World, make_router: MakeRouter) -> None:
    class Own(Session):
        def greet(self) -> str:
            return "hello"

    router = make_router()
    maker = router.sessionmaker(Own, partition_of=lambda info: info["tenant"], expire_on_commit=False)
    with maker(info={"tenant": "acme"}) as session:
        assert isinstance(session, Own) and session.greet() == "hello"
        session.add(Invoice(tenant_id=1, amount=1))
        session.commit()
    assert world.count("blue", 1) == 1


def test_fan_out(world: World, make_router: MakeRouter) -> None:
    router = make_router()
    for tenant in (1, 1, 2, 3, 4):
        with router.session((tenant,)) as session:
            session.add(Invoice(tenant_id=tenant, amount=tenant))
            session.commit()
    count = select(func.count()).select_from(Invoice)
    with pytest.raises(RouterError, match="share a home"):
        router.fan_out(count)
    per_home = dict(router.fan_out(count, partitions=["acme", "globex"]))
    assert {name: rows[0][0] for name, rows in per_home.items()} == {"acme": 4, "globex": 1}
    columns = {"tenant_id": Invoice.tenant_id}

    def own(route: object) -> object:
        return count.where(router.region_clause(route.partition, columns))  # type: ignore[attr-defined]

    found = {name: rows[0][0] for name, rows in router.fan_out(own, parallel=2)}  # type: ignore[arg-type]
    assert found == {"rest": 2, "acme": 2, "globex": 1}
    assert [n for n, _ in router.fan_out(own, partitions="a*")] == ["acme"]  # type: ignore[arg-type]
    greens = router.fan_out(own, partitions=lambda r: r.database == "green")  # type: ignore[arg-type]
    assert [n for n, _ in greens] == ["globex"]
    with pytest.raises(RouterError, match="sizes"):
        router.fan_out(count, partitions="size>1GiB")

    async def all_of_them() -> dict[str, int]:
        found = {name: rows[0][0] async for name, rows in router.fan_out_async(own, parallel=2)}  # type: ignore[arg-type]
        await router.close_async()
        return found

    assert asyncio.run(all_of_them()) == {"rest": 2, "acme": 2, "globex": 1}


def test_pools_are_shared_capped_and_closed(world: World, make_router: MakeRouter) -> None:
    router = make_router(policy=RoutePolicy(pools_max=1))
    with router.session("acme") as a, router.session("rest") as b:
        assert a.connection().engine is b.connection().engine, "one home, one pool"
        with router.session("globex") as c:
            c.connection()
            assert router.status()["pools"] == 1
            assert a.scalar(text("SELECT 1")) == 1, "who is busy stays connected"
    router = make_router()
    for partition in ("acme", "globex"):
        with router.session(partition) as session:
            session.connection()
    assert router.status()["pools"] == 2
    world.homes |= {"acme": ("green", 2), "rest": ("green", 2)}
    world.publish()
    router.refresh()
    assert router.status()["pools"] == 1, "nobody lives on blue any more"


def test_a_fork_has_its_own_connections(world: World, make_router: MakeRouter) -> None:
    router = make_router()
    with router.session("acme") as session:
        parent = session.scalar(text("SELECT pg_backend_pid()"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            world.move("acme", "green")
            with router.session("acme") as session:
                mine = session.scalar(text("SELECT pg_backend_pid()"))
            moved = router.refresh() and router.lookup("acme").database == "green"
            code = 0 if mine != parent and moved else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with router.session("acme") as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_events(world: World, make_router: MakeRouter) -> None:
    router = make_router()
    told: list[tuple[str, object]] = []
    back = threading.Event()
    router.on("switched", lambda **facts: told.append(("switched", facts["home"])))
    router.on("rolled_back", lambda **facts: (told.append(("rolled_back", facts["home"])), back.set()))
    router.on("switched", lambda **facts: 1 / 0)
    assert router.lookup("acme").database == "blue"
    world.move("acme", "green")
    assert router.refresh()
    world.move("acme", "blue")
    assert back.wait(5)
    assert told == [("switched", 'green.bill"ing g'), ("rolled_back", "blue.billing")]
    with pytest.raises(ValueError):
        router.on("nonsense", print)


def test_table_for(world: World, make_router: MakeRouter) -> None:
    schema = world.quoted("green")
    world.servers["green"].execute(
        "app",
        f"""
        CREATE TABLE {schema}.event (tenant_id bigint, at date) PARTITION BY HASH (tenant_id);
        CREATE TABLE {schema}.event_0 PARTITION OF {schema}.event FOR VALUES WITH (MODULUS 2, REMAINDER 0)
          PARTITION BY RANGE (at);
        CREATE TABLE {schema}.event_1 PARTITION OF {schema}.event FOR VALUES WITH (MODULUS 2, REMAINDER 1)
          PARTITION BY RANGE (at);
        CREATE TABLE {schema}."event 0 old" PARTITION OF {schema}.event_0 FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
        CREATE TABLE {schema}.event_0_new PARTITION OF {schema}.event_0 DEFAULT;
        CREATE TABLE {schema}.event_1_old PARTITION OF {schema}.event_1 FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
        INSERT INTO {schema}.event_0_new SELECT 2, '2026-02-01' WHERE satisfies_hash_partition(
          '{schema}.event'::regclass, 2, 0, 2::bigint);
        """,
    )
    router = make_router()
    (zero,) = world.servers["green"].rows(
        "app", f"SELECT satisfies_hash_partition('{schema}.event'::regclass, 2, 0, 2::bigint)"
    )
    old, new = ("event 0 old", "event_0_new") if zero[0] else ("event_1_old", None)
    assert router.table_for("event", 2, {"at": "2025-05-05"}).name == old
    assert str(router.table_for(Invoice, 2)) == f'{schema}."invoice"'
    assert router.table_for(Customer.__table__, (2,)).name == "customer"
    if new is not None:
        assert router.table_for("event", 2, {"at": "2026-05-05"}).name == new
    with pytest.raises(RouterError, match="'at'"):
        router.table_for("event", 2)
    with pytest.raises(RouterError, match="no table"):
        router.table_for("nothing", 2)

    async def asked() -> str:
        found = await router.table_for_async("event", 2, {"at": "2025-05-05"})
        await router.close_async()
        return found.name

    assert asyncio.run(asked()) == old
    assert Base.metadata.tables
