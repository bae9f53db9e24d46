"""Clients of Python's: each writes one row after the other until its standard input ends, and prints what was acknowledged.

usage: writers.py NAME PORT FIRST_ID
"""

import asyncio
import select
import sys
from collections.abc import Callable, Iterator

NAME, PORT, FIRST = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
OPTIONS = "-c replat.partition=acme"
PLACE = {"host": "127.0.0.1", "port": PORT, "user": "postgres", "dbname": "shop", "options": OPTIONS}
INSERT = "insert into entries values (1, %s) returning id"
SUM = "update accounts set sum = sum + 1 where tenant_id = 1 and id = %s"


def is_over() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def ids() -> Iterator[int]:
    following = FIRST
    while not is_over():
        yield following
        following += 1


def acknowledged(*written: int) -> None:
    for one in written:
        print(one, flush=True)


def psycopg_sync() -> None:
    import psycopg

    with psycopg.connect(**PLACE, prepare_threshold=2) as connection:
        connection.autocommit = True
        for id in ids():
            if id % 3 == 0:
                with connection.transaction():
                    connection.execute(INSERT, [id])
                    connection.execute(SUM, [id % 200 + 1])
            elif id % 3 == 1:
                assert connection.execute(INSERT, [id], binary=True).fetchone() == (id,)
            else:
                with connection.cursor().copy("copy entries from stdin") as copy:
                    copy.write_row([1, id])
            acknowledged(id)


async def psycopg_async() -> None:
    import psycopg

    async with await psycopg.AsyncConnection.connect(**PLACE, prepare_threshold=0) as connection:
        for id in ids():
            await connection.execute(INSERT, [id])
            # A cursor of the server's own.
            async with connection.cursor("some") as cursor:
                await cursor.execute("select id from accounts where tenant_id = 1 order by id")
                assert await cursor.fetchmany(2) == [(1,), (2,)]
            await connection.commit()
            acknowledged(id)


def psycopg_pipeline() -> None:
    import psycopg

    with psycopg.connect(**PLACE) as connection:
        connection.autocommit = True
        for id in ids():
            written = [id * 10 + each for each in range(10)]
            with connection.pipeline() as pipeline:
                for each in written[:5]:
                    connection.execute(INSERT, [each])
                pipeline.sync()
                for each in written[5:]:
                    connection.execute(INSERT, [each])
            acknowledged(*written)


async def asyncpg_driver() -> None:
    import asyncpg

    connection = await asyncpg.connect(
        host="127.0.0.1", port=PORT, user="postgres", database="shop", server_settings={"replat.partition": "acme"}
    )
    insert = await connection.prepare("insert into entries values (1, $1) returning id")
    for id in ids():
        if id % 2:
            assert await insert.fetchval(id) == id
        else:
            async with connection.transaction():
                await connection.executemany("insert into entries values (1, $1)", [(id,)])
                await connection.execute("update accounts set sum = sum + 1 where tenant_id = 1 and id = $1", id % 200 + 1)
        acknowledged(id)
    await connection.close()


def model():
    from sqlalchemy import BigInteger
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    class Base(DeclarativeBase):
        pass

    class Entry(Base):
        __tablename__ = "entries"
        tenant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
        id: Mapped[int] = mapped_column(BigInteger, primary_key=True)

    return Entry


def sqlalchemy_psycopg() -> None:
    from sqlalchemy import create_engine, inspect, select
    from sqlalchemy.orm import Session

    Entry = model()
    engine = create_engine(
        f"postgresql+psycopg://postgres@127.0.0.1:{PORT}/shop", connect_args={"options": OPTIONS}, pool_size=2
    )
    # Reflection is what the dialect asks most of.
    with engine.connect() as connection:
        columns = [column["name"] for column in inspect(connection).get_columns("entries")]
        assert columns == ["tenant_id", "id"], columns
    for id in ids():
        with Session(engine) as session:
            session.add(Entry(tenant_id=1, id=id))
            session.flush()
            assert session.scalars(select(Entry).where(Entry.tenant_id == 1, Entry.id == id)).one().id == id
            session.commit()
        acknowledged(id)
    engine.dispose()


async def sqlalchemy_asyncpg() -> None:
    from sqlalchemy import select
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    Entry = model()
    engine = create_async_engine(
        f"postgresql+asyncpg://postgres@127.0.0.1:{PORT}/shop",
        connect_args={"server_settings": {"replat.partition": "acme"}},
    )
    for id in ids():
        async with AsyncSession(engine) as session:
            session.add(Entry(tenant_id=1, id=id))
            await session.flush()
            found = await session.scalars(select(Entry).where(Entry.tenant_id == 1, Entry.id == id))
            assert found.one().id == id
            await session.commit()
        acknowledged(id)
    await engine.dispose()


CLIENTS: dict[str, Callable[[], object]] = {
    "psycopg": psycopg_sync,
    "psycopg-async": lambda: asyncio.run(psycopg_async()),
    "psycopg-pipeline": psycopg_pipeline,
    "asyncpg": lambda: asyncio.run(asyncpg_driver()),
    "sqlalchemy-psycopg": sqlalchemy_psycopg,
    "sqlalchemy-asyncpg": lambda: asyncio.run(sqlalchemy_asyncpg()),
}
CLIENTS[NAME]()
