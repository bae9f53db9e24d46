from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from conftest import MakeRouter
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool
from world import Base, Currency, Customer, Invoice, World

from replat_sqlalchemy import (
    CrossPartitionWarning,
    RelationGuard,
    RouterError,
    RowGuard,
    StaticRouter,
    UnknownPartition,
    WrongPartition,
    partition_scope,
)


def test_row_guard(world: World, make_router: MakeRouter) -> None:
    router = make_router(guards=[RowGuard()])
    with router.session("acme") as session:
        session.add_all([Invoice(tenant_id=1, amount=1), Currency(code="EUR")])
        session.commit()
    with router.session("acme") as session:
        session.add(Invoice(tenant_id=2, amount=1))
        with pytest.raises(WrongPartition, match="globex"):
            session.commit()
    with router.session("acme") as session:
        invoice = session.scalars(select(Invoice)).one()
        invoice.tenant_id = 7
        with pytest.raises(WrongPartition, match="rest"):
            session.flush()
        session.rollback()
        invoice = session.scalars(select(Invoice)).one()
        invoice.amount = 5
        session.commit()
    with router.session("rest") as session:
        stray = session.scalars(select(Invoice)).one()
        assert stray.tenant_id == 1, "one home, and a query that does not say which tenant"
        stray.amount = 6
        with pytest.raises(WrongPartition):
            session.commit()
    with router.session("rest") as session:
        session.delete(session.scalars(select(Invoice)).one())
        with pytest.raises(WrongPartition):
            session.commit()
    for statement, rows in (
        (insert(Invoice), [{"tenant_id": 1, "amount": 1}, {"tenant_id": 2, "amount": 1}]),
        (insert(Invoice).values(tenant_id=2, amount=1), None),
        (insert(Invoice).values([{"tenant_id": 1, "amount": 1}, {"tenant_id": 3, "amount": 1}]), None),
    ):
        with router.session("acme") as session, pytest.raises(WrongPartition):
            session.execute(statement, rows)
    with router.session("acme") as session:
        session.execute(insert(Invoice), [{"tenant_id": 1, "amount": 10}])
        session.commit()
    assert (world.count("blue", 1), world.count("blue", 2), world.count("green", 2)) == (2, 0, 0)

    async def wrong() -> None:
        async with router.async_session("acme") as session:
            session.add(Invoice(tenant_id=2, amount=1))
            with pytest.raises(WrongPartition):
                await session.commit()
        await router.close_async()

    asyncio.run(wrong())


def test_row_guard_with_renamed_column_and_without_column(world: World, make_router: MakeRouter) -> None:
    renamed = make_router(guards=[RowGuard({"customer": {"tenant_id": "customer_id"}})])
    with renamed.session("acme") as session:
        session.add(Customer(tenant_id=2, customer_id=1))
        session.flush()
        session.rollback()
        session.add(Customer(tenant_id=1, customer_id=2))
        with pytest.raises(WrongPartition):
            session.flush()
    strict = make_router(guards=[RowGuard(missing="raise")])
    with strict.session("acme") as session:
        session.add(Currency(code="EUR"))
        with pytest.raises(WrongPartition, match="no column"):
            session.commit()


def test_relation_guard(world: World, make_router: MakeRouter) -> None:
    router = make_router(guards=[RelationGuard()])
    quiet = make_router(guards=[RelationGuard(local=["currency"])])
    with router.session("acme") as session:
        session.add(Currency(code="EUR"))
        session.flush()
        session.add(Invoice(tenant_id=1, amount=1, currency_code="EUR"))
        session.commit()
    with quiet.session("acme") as session, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert session.scalars(select(Invoice)).one().currency is not None
    with router.session("acme") as session:
        invoice = session.scalars(select(Invoice)).one()
        with pytest.warns(CrossPartitionWarning, match="Currency"):
            assert invoice.currency is not None
    with router.session("rest") as session, pytest.warns(CrossPartitionWarning, match="acme"):
        session.scalars(select(Invoice)).one()


def test_static_router() -> None:
    one: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engines = {"acme": create_engine("sqlite://", **one), "globex": create_engine("sqlite://", **one)}
    for engine in engines.values():
        Base.metadata.create_all(engine)
    router = StaticRouter(engines)
    with router.session("acme") as session:
        session.add(Invoice(tenant_id=1, invoice_id=1, amount=1))
        session.commit()
        assert session.route is None
    with partition_scope("acme", lock=True):
        with router.session() as session:
            assert len(session.scalars(select(Invoice)).all()) == 1
        with pytest.raises(RouterError):
            router.session("globex")
    assert dict(router.fan_out(select(Invoice.amount))) == {"acme": [(1,)], "globex": []}
    with router.session("nobody") as session, pytest.raises(UnknownPartition):
        session.connection()

    @router.transactional
    def pay(session: object, amount: int) -> int:
        session.add(Invoice(tenant_id=1, invoice_id=2, amount=amount))  # type: ignore[attr-defined]
        return amount

    assert pay.on("globex")(5) == 5
    with partition_scope("globex"), router.session() as session:
        assert session.scalars(select(Invoice.amount)).all() == [5]

    async def work() -> None:
        asynchronous = StaticRouter(
            {"acme": create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/x")}
        )
        async with asynchronous.async_session("acme") as session:
            with pytest.raises(OSError):
                await session.execute(text("SELECT 1"))
        with asynchronous.session("acme") as session, pytest.raises(RouterError, match="not one for"):
            session.connection()

    asyncio.run(work())
