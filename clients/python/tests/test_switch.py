"""A partition is switched under traffic: nothing is lost, nothing is doubled, and nobody sees an error."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from conftest import MakeRouter
from servers import Server
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from world import Invoice, World

from replat_sqlalchemy import OutcomeUnknown, PartitionSwitched, RoutePolicy, Router

GREEN = 'green.bill"ing g'


def switch(world: World, source: str, target: str, epoch: int) -> None:
    """What a deployment does to acme: fence, copy, decide, open, publish."""
    world.fence(source, "acme", is_open=False, epoch=epoch, home=None)
    world.copy(1, source, target)
    home = f"{target}.{world.schemas[target]}"
    world.fence(source, "acme", is_open=False, epoch=epoch + 1, home=home)
    world.fence(target, "acme", is_open=True, epoch=epoch + 1, home=None)
    world.move("acme", target)


@contextmanager
def running(count: int, work: Callable[[], None]) -> Iterator[list[BaseException]]:
    """So many threads that do ``work`` until the end of the block."""
    over, failed = threading.Event(), list[BaseException]()

    def run() -> None:
        while not over.is_set():
            try:
                work()
            except BaseException as why:
                failed.append(why)
                return

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        over.set()
        for thread in threads:
            thread.join()


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def test_switches_under_traffic(world: World, make_router: MakeRouter) -> None:
    world.guard("acme", "tenant_id = 1", "blue")
    router = make_router(policy=RoutePolicy(switch_wait="20s"))
    written: list[int] = []
    others: list[int] = []

    @router.transactional(retries=1)
    def pay(session: object, amount: int) -> int:
        invoice = Invoice(tenant_id=1, invoice_id=amount, amount=amount)
        session.add(invoice)  # type: ignore[attr-defined]
        session.flush()  # type: ignore[attr-defined]
        session.execute(text("UPDATE invoice SET amount = amount + 0 WHERE tenant_id = 1 AND invoice_id = 0"))  # type: ignore[attr-defined]
        return amount

    number = iter(range(1, 1_000_000))
    lock = threading.Lock()

    def acme() -> None:
        with lock:
            amount = next(number)
        written.append(pay.on("acme")(amount))

    def rest() -> None:
        with router.session((9,)) as session:
            session.add(Invoice(tenant_id=9, amount=0))
            session.commit()
        others.append(1)

    with running(4, acme) as failed, running(1, rest) as failed_others:
        for round_ in range(6):
            seen = len(written)
            until(lambda seen=seen: len(written) >= seen + 20 or bool(failed))  # type: ignore[misc]
            source, target = ("blue", "green") if round_ % 2 == 0 else ("green", "blue")
            switch(world, source, target, round_ + 1)
        seen = len(written)
        until(lambda: len(written) >= seen + 20 or bool(failed))
    assert failed == [] and failed_others == []
    found = world.servers["blue"].rows("app", "SELECT amount FROM billing.invoice WHERE tenant_id = 1")
    assert sorted(row[0] for row in found) == sorted(written), "each once, at the home"
    assert world.count("blue", 9) == len(others)


def test_switches_under_async_traffic(world: World, make_router: MakeRouter) -> None:
    world.guard("acme", "tenant_id = 1", "blue")
    router = make_router(policy=RoutePolicy(switch_wait="20s"), engine_options={"pool_size": 4})
    written: list[int] = []

    async def work() -> None:
        @router.transactional
        async def pay(session: object, amount: int) -> int:
            session.add(Invoice(tenant_id=1, invoice_id=amount, amount=amount))  # type: ignore[attr-defined]
            await session.flush()  # type: ignore[attr-defined]
            return amount

        over = asyncio.Event()
        number = iter(range(1, 1_000_000))

        async def writer() -> None:
            while not over.is_set():
                written.append(await pay.on("acme")(next(number)))  # type: ignore[misc]

        writers = [asyncio.create_task(writer()) for _ in range(4)]
        for round_ in range(3):
            seen = len(written)
            while len(written) < seen + 20:
                await asyncio.sleep(0.005)
                assert not any(task.done() for task in writers)
            source, target = ("blue", "green") if round_ % 2 == 0 else ("green", "blue")
            await asyncio.to_thread(switch, world, source, target, round_ + 1)
        over.set()
        await asyncio.gather(*writers)
        await router.close_async()

    asyncio.run(work())
    query = f"SELECT amount FROM {world.quoted('green')}.invoice WHERE tenant_id = 1"
    assert sorted(row[0] for row in world.servers["green"].rows("app", query)) == sorted(written)


def test_a_switch_that_is_given_up(world: World, make_router: MakeRouter) -> None:
    world.guard("acme", "tenant_id = 1", "blue")
    world.fence("blue", "acme", is_open=False, epoch=1, home=None)
    router = make_router(policy=RoutePolicy(switch_wait="20s"))
    tries = []

    def pay(session: object) -> None:
        tries.append(1)
        if len(tries) == 3:
            world.fence("blue", "acme", is_open=True, epoch=1, home=None)
        session.add(Invoice(tenant_id=1, amount=1))  # type: ignore[attr-defined]

    router.run("acme", pay)
    assert len(tries) == 3 and world.count("blue", 1) == 1


@pytest.mark.parametrize("is_async", [False, True], ids=["psycopg", "asyncpg"])
def test_what_an_application_sees_without_retry(
    world: World, make_router: MakeRouter, is_async: bool
) -> None:
    world.guard("acme", "tenant_id = 1", "green")
    router = make_router()

    def check(why: PartitionSwitched) -> None:
        assert isinstance(why, OperationalError) and why.retryable
        assert (why.partition, why.fence_epoch, why.new_home, why.switching) == ("acme", 1, GREEN, False)
        assert why.snapshot is not None and why.snapshot.home == "blue.billing" and why.snapshot.epoch == 1
        assert why.code == "partition-switched" and "sqlalche.me" not in str(why)

    if is_async:

        async def work() -> None:
            async with router.async_session("acme") as session:
                session.add(Invoice(tenant_id=1, amount=1))
                with pytest.raises(PartitionSwitched) as caught:
                    await session.commit()
            check(caught.value)
            await router.close_async()

        asyncio.run(work())
    else:
        with router.session("acme") as session:
            session.add(Invoice(tenant_id=1, amount=1))
            with pytest.raises(PartitionSwitched) as caught:
                session.commit()
        check(caught.value)


def test_limits_of_patience(world: World, make_router: MakeRouter) -> None:
    world.guard("acme", "tenant_id = 1", "green")
    tries: list[int] = []

    def pay(session: object) -> None:
        tries.append(1)
        session.add(Invoice(tenant_id=1, amount=1))  # type: ignore[attr-defined]

    # The map says blue, the database says that it lives elsewhere, and no newer map comes.
    for policy, retries in (
        (RoutePolicy(switch_wait="100ms"), 1),
        (RoutePolicy(on_switch="raise"), 1),
        (RoutePolicy(), 0),
    ):
        tries.clear()
        with pytest.raises(PartitionSwitched):
            make_router(policy=policy).run("acme", pay, retries=retries)
        assert len(tries) == 1, policy
    # A second move within one transaction is one more than is allowed.
    router = make_router(policy=RoutePolicy(switch_wait="10s"))
    world.fence("green", "acme", is_open=False, epoch=2, home="blue.billing")

    def move(session: object) -> None:
        session.connection()  # type: ignore[attr-defined]
        tries.append(1)
        world.move("acme", "green" if len(tries) % 2 else "blue")
        session.add(Invoice(tenant_id=1, amount=1))  # type: ignore[attr-defined]

    tries.clear()
    with pytest.raises(PartitionSwitched):
        router.run("acme", move, retries=2)
    assert len(tries) == 3


@pytest.mark.parametrize(
    "detail",
    [
        None,
        "see the manual",
        '{"partition":"acme"}',
        '{"partition":"acme","state":"armed"}',
        '{"state":"moved"}',
    ],
)
def test_other_refusals_are_not_switches(world: World, make_router: MakeRouter, detail: str | None) -> None:
    router = make_router()
    using = "" if detail is None else f", DETAIL = '{detail}'"
    raising = f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '25006', MESSAGE = 'no'{using}; END $$"
    with router.session("acme") as session, pytest.raises(DBAPIError) as caught:
        session.execute(text(raising.replace(":", "\\:")))
    assert not isinstance(caught.value, PartitionSwitched)


def test_an_unknown_outcome_is_never_repeated(
    world: World, make_router: MakeRouter, pair: list[Server]
) -> None:
    # The server is told to break the connection while it commits.
    world.servers["blue"].execute(
        "app",
        """
        CREATE FUNCTION billing.fall() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER fall AFTER INSERT ON billing.invoice DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION billing.fall();
        """,
    )
    router = make_router()
    tries: list[int] = []

    def pay(session: object) -> None:
        tries.append(1)
        session.add(Invoice(tenant_id=1, amount=1))  # type: ignore[attr-defined]

    with pytest.raises(OutcomeUnknown) as caught:
        router.run("acme", pay, retries=5)
    assert len(tries) == 1 and not caught.value.retryable

    async def work() -> None:
        async def pay(session: object) -> None:
            tries.append(1)
            session.add(Invoice(tenant_id=1, amount=1))  # type: ignore[attr-defined]

        with pytest.raises(OutcomeUnknown):
            await router.run_async("acme", pay, retries=5)
        await router.close_async()

    asyncio.run(work())
    assert len(tries) == 2


def test_a_known_refusal_at_commit_is_known(world: World, make_router: MakeRouter) -> None:
    world.servers["blue"].execute(
        "app",
        "ALTER TABLE billing.invoice ADD FOREIGN KEY (currency_code) REFERENCES billing.currency "
        "DEFERRABLE INITIALLY DEFERRED",
    )
    router = make_router()
    with router.session("acme") as session:
        session.add(Invoice(tenant_id=1, amount=1, currency_code="XXX"))
        with pytest.raises(IntegrityError):
            session.commit()


def test_the_guards_refusal_at_commit_is_retried(world: World, make_router: MakeRouter) -> None:
    """A deferred trigger can make the guard speak at COMMIT: an ordinary refusal, so nothing is unknown."""
    world.servers["blue"].execute(
        "app",
        """
        CREATE FUNCTION billing.late() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION USING ERRCODE = '25006', MESSAGE = 'no',
            DETAIL = '{"partition" : "acme", "epoch" : 2, "home" : "green.x", "state" : "moved"}';
        END $$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON billing.invoice DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION billing.late();
        """,
    )
    router = make_router()
    moved = threading.Timer(0.1, world.move, ("acme", "green"))
    moved.start()
    router.run("acme", lambda session: session.add(Invoice(tenant_id=1, amount=1)))
    moved.join()
    assert (world.count("blue", 1), world.count("green", 1)) == (0, 1)


def test_server_down_is_an_ordinary_error(world: World, make_router: MakeRouter, pair: list[Server]) -> None:
    router = make_router()
    server = world.servers["green"]
    with router.session("globex") as session:
        assert session.scalar(select(func.count()).select_from(Invoice)) == 0
        server.stop(signal.SIGINT)
        try:
            with pytest.raises(OperationalError) as caught:
                session.scalar(select(func.count()).select_from(Invoice))
            assert not isinstance(caught.value, (PartitionSwitched, OutcomeUnknown))
        finally:
            server.start()
    with router.session("acme") as session:
        assert session.scalar(select(func.count()).select_from(Invoice)) == 0
    with contextlib.suppress(psycopg.Error):
        server.rows("app", "SELECT 1")


def test_own_commit_inside_is_not_repeated(world: World, make_router: MakeRouter) -> None:
    """What a function has committed itself stays, and SQLAlchemy refuses the rest of its transaction."""
    router: Router = make_router()
    tries: list[int] = []

    def twice(session: object) -> None:
        tries.append(1)
        session.add(Invoice(tenant_id=1, amount=1))  # type: ignore[attr-defined]
        session.commit()  # type: ignore[attr-defined]
        session.add(Invoice(tenant_id=1, amount=2))  # type: ignore[attr-defined]
        session.flush()  # type: ignore[attr-defined]

    with pytest.raises(Exception, match="closed transaction"):
        router.run("acme", twice, retries=3)
    assert len(tries) == 1 and world.count("blue", 1) == 1
