from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Server, servers
from world import CONTEXT, PROJECT, World

from replat_sqlalchemy import Login, RoutePolicy, Router


@pytest.fixture(scope="session")
def pair() -> Iterator[list[Server]]:
    with servers(2) as started:
        yield started


@pytest.fixture
def world(pair: list[Server], tmp_path: Path) -> World:
    built = World(*pair, tmp_path).build()
    built.publish()
    return built


MakeRouter = Callable[..., Router]


@pytest.fixture
def make_router(world: World) -> Iterator[MakeRouter]:
    """Makes routers of the world's file, and closes them."""
    made: list[Router] = []

    def make(url: str | None = None, policy: RoutePolicy | None = None, **options: Any) -> Router:
        options = {"project": PROJECT, "context": CONTEXT, "login": Login(user="postgres"), **options}
        router = Router.from_url(url or f"file:{world.file}", policy=policy, **options)
        made.append(router)
        return router

    yield make
    for router in made:
        router.close()
