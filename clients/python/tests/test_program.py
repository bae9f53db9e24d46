"""`replat serve` itself, and a router that follows it: what one side says, the other understands."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replat_sqlalchemy import FileToken, RoutePolicy, Router, RoutesUnavailable

SPEC = """
version = 1
project = "saas"
[registry]
url = "file:.replat/registry.db"
key = { file = "project.key" }
[databases.blue]
url = "postgres://app@blue.internal/shop"
[contexts.saas]
dimensions = [{ column = "tenant_id", type = "bigint" }]
home = { database = "blue", schema = "public" }
[contexts.saas.tables.tenants]
"""


def program() -> str | None:
    """``REPLAT`` names it; else the one that was built last, or is installed."""
    built = [
        root / kind / "replat"
        for root in (
            Path(os.environ.get("CARGO_TARGET_DIR", "")),
            Path(__file__).parents[3] / "target",
        )
        for kind in ("debug", "release")
        if root.is_absolute()
    ]
    there = sorted((path for path in built if path.exists()), key=lambda path: -path.stat().st_mtime)
    return os.environ.get("REPLAT") or next(map(str, there), None) or shutil.which("replat")


class Project:
    """A project with published routes, and a server of them."""

    def __init__(self, replat: str, folder: Path) -> None:
        self._replat, self.folder = replat, folder
        self.token = folder / "serve.token"
        self.token.write_text("a-token-for-this-test\n")
        self.token.chmod(0o600)
        (folder / "replat.toml").write_text(SPEC)
        self.run("registry", "init")
        self._server: subprocess.Popen[str] | None = None
        self.address = "127.0.0.1:0"

    def run(self, *arguments: str) -> None:
        done = subprocess.run([self._replat, *arguments], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        command = [self._replat, "serve", "--listen", self.address, "--token-file", str(self.token)]
        self._server = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        self.address = line.strip().rpartition("http://")[2]
        assert self.address, "it says where it listens"

    def stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            assert self._server.wait(30) == 0
            assert self._server.stdout is not None
            self._server.stdout.close()
            self._server = None

    @property
    def url(self) -> str:
        return f"http://{self.address}/api/v1"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    replat = program()
    if replat is None:
        pytest.skip("there is no replat program: build it, or name it by REPLAT")
    made = Project(replat, tmp_path)
    made.start()
    yield made
    made.stop()


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def test_a_router_follows_the_server_and_survives_its_restart(project: Project) -> None:
    # So rarely does the follower look by itself that what is quick is due to the stream.
    policy = RoutePolicy(max_stale="1h")
    options: dict[str, Any] = {"project": "saas", "context": "saas", "policy": policy}
    key = bytes.fromhex((project.folder / "project.key").read_text())
    router = Router.from_url(project.url, token=FileToken(project.token), key=key, **options)
    try:
        route = router.lookup({"tenant_id": 3})
        assert (route.database, route.address.host) == ("blue", "blue.internal")
        project.run("route", "set", route.partition, "--feature", "first")
        until(lambda: "first" in router.lookup({"tenant_id": 3}).traffic.features)
        project.stop()
        project.run("route", "set", route.partition, "--feature", "second")
        assert "second" not in router.lookup({"tenant_id": 3}).traffic.features
        project.start()
        until(lambda: "second" in router.lookup({"tenant_id": 3}).traffic.features)
    finally:
        router.close()


def test_without_the_token_there_are_no_routes(project: Project) -> None:
    policy = RoutePolicy(start_wait="200ms")
    router = Router.from_url(project.url, project="saas", context="saas", token="guess", policy=policy)
    with pytest.raises(RoutesUnavailable):
        router.lookup({"tenant_id": 3})
    router.close()
