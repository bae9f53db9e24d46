"""Where routes come from: what is refused, and that news arrive, from a file, over HTTP, and from registries."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeRouter
from servers import Server
from sqlalchemy import text
from world import CONTEXT, PROJECT, World

from replat_sqlalchemy import (
    FileToken,
    PartitionHeld,
    RoutePolicy,
    Router,
    RoutesDamaged,
    RoutesUnavailable,
    WrongProject,
    project_key,
    seal,
)

KEY = bytes(range(32))


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def delta(world: World, partition: str, side: str) -> dict[str, Any]:
    """A switch, as registries get it."""
    epoch = world.homes[partition][1] + 1
    world.homes[partition] = (side, epoch)
    world.version += 1
    changes = {
        "context": CONTEXT,
        "from": world.version - 1,
        "to": world.version,
        "homes": [[side, world.schemas[side]]],
        "changes": [[partition, 0, epoch]],
    }
    body = json.dumps({"project": PROJECT, "map": changes})
    return seal(PROJECT, CONTEXT, world.version, body, at=1, since=world.version - 1, key=world.key)


# A file


def test_a_file_of_envelopes_and_deltas(world: World, make_router: MakeRouter) -> None:
    first = world.envelope()
    world.publish([first, delta(world, "acme", "green")])
    router = make_router()
    assert (router.lookup("acme").database, router.status()["version"]) == ("green", 3)
    world.publish(world.routes() | {"map": world.routes()["map"] | {"version": 9}})
    assert router.refresh() and router.status()["version"] == 9, (
        "bare routes will do where no key is expected"
    )
    envelope = world.envelope()
    header = {name: value for name, value in envelope.items() if name != "body"}
    world.version = 10
    body = json.dumps(world.routes())
    stored = seal(PROJECT, CONTEXT, 10, body, at=5)
    header = {name: value for name, value in stored.items() if name != "body"}
    world.write(json.dumps(header) + "\n" + body)
    assert router.refresh() and router.status()["version"] == 10, "as registries store them"


def test_versions_only_rise(world: World, make_router: MakeRouter) -> None:
    old = world.envelope()
    world.move("acme", "green")
    router = make_router()
    assert router.lookup("acme").epoch == 2
    world.publish(old)
    assert router.refresh()
    assert (router.lookup("acme").epoch, router.status()["version"]) == (2, 3)


def test_tampered_envelopes_are_refused(world: World, make_router: MakeRouter, tmp_path: Path) -> None:
    world.key = KEY
    world.publish()
    file = tmp_path / "key"
    file.write_text(KEY.hex() + "\n")
    assert project_key(file) == KEY
    router = make_router(key=FileToken(file))
    seen = router.lookup("acme").version
    sealed = world.envelope()
    unsigned = {name: value for name, value in sealed.items() if name != "mac"}
    other = seal(PROJECT, CONTEXT, world.version, sealed["body"], at=1, key=b"x" * 32)
    moved = sealed["body"].replace("127.0.0.1", "127.0.0.9")
    redone = {
        **sealed,
        "body": moved,
        "digest": seal(PROJECT, CONTEXT, world.version, moved, at=sealed["at"])["digest"],
    }
    bare = world.routes()
    for name, document in {
        "another body": {**sealed, "body": moved},
        "another body and digest": redone,
        "truncated": {**sealed, "body": sealed["body"][:-1]},
        "another version": {**sealed, "version": world.version + 1},
        "not signed": unsigned,
        "another key": other,
        "no envelope": bare,
        "unknown field": {**sealed, "extra": 1},
        "unknown format": {**sealed, "format": 2},
        "a delta from nowhere": {**delta(world, "acme", "green")},
        "a list": 7,
    }.items():
        world.publish(document)
        until(lambda: router.status()["fault"] is not None)
        assert router.status()["version"] == seen, name
        assert router.lookup("acme").address.host == "127.0.0.1", name
        world.publish(_republished(world, seen))
        until(lambda: router.status()["fault"] is None)
    world.write('{"project":')
    until(lambda: router.status()["fault"] is not None)
    fresh = make_router(key=KEY)
    with pytest.raises(RoutesDamaged):
        fresh.lookup("acme")


def _republished(world: World, version: int) -> dict[str, Any]:
    """The version that the router has: nothing new, and nothing wrong."""
    kept, world.version = world.version, version
    body = json.dumps(world.routes())
    world.version = kept
    return seal(PROJECT, CONTEXT, version, body, at=1, key=world.key)


def test_wrong_project_and_context(world: World, make_router: MakeRouter) -> None:
    for project, context in (("other", CONTEXT), (PROJECT, "other")):
        router = make_router(project=project, context=context)
        with router.session("acme") as session, pytest.raises(WrongProject):
            session.connection()
    # An envelope that says one project around routes that say another.
    body = json.dumps(world.routes() | {"project": "other"})
    world.publish(seal(PROJECT, CONTEXT, world.version, body, at=1))
    with pytest.raises(WrongProject):
        make_router().lookup("acme")


# HTTP


class Api:
    """Just enough of replat's HTTP API."""

    def __init__(self, world: World, *, stream: bool) -> None:
        self.envelopes: list[dict[str, Any]] = [world.envelope()]
        self.events: list[tuple[str, str]] = []
        self.news = threading.Condition()
        self.asked: list[str] = []
        self.closed = False
        self.drop_streams = 0
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                api.asked.append(self.path)
                if self.headers["Authorization"] != "Bearer sesame":
                    self.send_error(401)
                elif url.path == f"/api/v1/projects/{PROJECT}/routes/{CONTEXT}":
                    self.routes(urllib.parse.parse_qs(url.query))
                elif url.path == "/api/v1/events" and stream:
                    self.stream()
                else:
                    self.send_error(404)

            def routes(self, query: dict[str, list[str]]) -> None:
                since, wait = int(query["since"][0]), float(query["wait"][0])
                with api.news:
                    api.news.wait_for(lambda: api.closed or api.newer(since), wait)
                    data = json.dumps(api.newer(since)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                self.send_header("Connection", "close")
                self.end_headers()
                sent, drops = len(api.events), api.drop_streams
                self.wfile.write(b": hello\n\n")
                while not api.closed and drops == api.drop_streams:
                    with api.news:
                        while not api.closed and len(api.events) == sent and drops == api.drop_streams:
                            api.news.wait()
                        new, sent = api.events[sent:], len(api.events)
                    for name, data in new:
                        self.wfile.write(f"id: {sent}\nevent: {name}\ndata: {data}\n\n".encode())
                    self.wfile.flush()
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def newer(self, since: int) -> list[dict[str, Any]]:
        newer = [one for one in self.envelopes if one["version"] > since]
        return newer if since else newer[-1:]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/api/v1"

    def publish(self, envelope: dict[str, Any]) -> None:
        with self.news:
            self.envelopes.append(envelope)
            self.events.append(("route", json.dumps({"version": envelope["version"]})))
            self.news.notify_all()

    def say(self, event: str, **data: object) -> None:
        with self.news:
            self.events.append((event, json.dumps(data)))
            self.news.notify_all()

    def break_streams(self) -> None:
        with self.news:
            self.drop_streams += 1
            self.news.notify_all()

    def close(self) -> None:
        with self.news:
            self.closed = True
            self.news.notify_all()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(params=["stream", "poll"])
def api(request: pytest.FixtureRequest, world: World) -> Iterator[Api]:
    started = Api(world, stream=request.param == "stream")
    yield started
    started.close()


# The policy makes the follower's own looks rare, so that what is quick is due to the stream or the poll.
RARE = RoutePolicy(max_stale="1h")


def test_http(world: World, api: Api, make_router: MakeRouter, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame\n")
    router = make_router(api.url, token=FileToken(token), policy=RARE)
    assert router.lookup("acme").database == "blue"
    for side in ("green", "blue", "green"):
        api.publish(delta(world, "acme", side))
        until(lambda side=side: router.lookup("acme").database == side)  # type: ignore[misc]
    api.break_streams()
    api.publish(delta(world, "acme", "blue"))
    until(lambda: router.lookup("acme").database == "blue")
    with router.session("acme") as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_http_without_right(world: World, api: Api, make_router: MakeRouter) -> None:
    router = make_router(api.url, token="guess", policy=RoutePolicy(start_wait="200ms"))
    with pytest.raises(RoutesUnavailable) as caught:
        router.lookup("acme")
    assert caught.value.snapshot is not None and "guess" not in str(caught.value.snapshot)


def test_a_hold_over_http(world: World, make_router: MakeRouter) -> None:
    api = Api(world, stream=True)
    try:
        policy = RoutePolicy(max_stale="1h", switch_wait="30s")
        router = make_router(api.url, token="sesame", policy=policy)
        held: list[object] = []
        router.on("begin_switch", lambda **facts: held.append(facts))
        router.lookup("acme")
        until(lambda: any("events" in path for path in api.asked))
        # The hello of the stream wakes the source, so from here on its events are heard.
        router.refresh()
        call = {
            "partition": "acme",
            "epoch": 1,
            "attempt": 1,
            "deployment": "d1",
            "reads": False,
            "for_ms": 60_000,
        }
        api.say("hold", **call)
        until(lambda: held)
        _behaves_while_held(router, lambda: api.publish(delta(world, "acme", "green")))
        api.say("hold", **{**call, "epoch": 2, "attempt": 2})
        until(lambda: len(held) == 2)
        _behaves_while_held(router, lambda: api.say("release", partition="acme", attempt=2))
    finally:
        api.close()


def _behaves_while_held(router: Router, end: Callable[[], None]) -> None:
    """Writers of acme wait until the end of the hold; readers, and writers of others, do not."""
    entered = threading.Event()
    done: list[object] = []

    def write() -> None:
        with router.session("acme") as session:
            session.connection()
            done.append(session.route)
        entered.set()

    thread = threading.Thread(target=write)
    thread.start()
    with router.session("globex") as session:
        session.connection()
    with router.session("acme", read_only=True) as session:
        assert session.scalar(text("SHOW transaction_read_only")) == "on"
    assert not entered.wait(0.05)
    end()
    assert entered.wait(30)
    thread.join()


# Registries


class Registry:
    """Writes a registry as replat does; see docs/registry.md. ``put`` and ``take`` are its server's."""

    def __init__(
        self, world: World, put: Callable[[str, bytes, int | None], None], take: Callable[[str], None]
    ) -> None:
        self.world, self.put, self.take = world, put, take
        self.head: dict[str, Any] = {}

    def whole(self, *, pieces: int = 0) -> None:
        envelope = self.world.envelope()
        stored = self._stored(envelope)
        version = envelope["version"]
        if pieces:
            digest = hashlib.sha256(stored).hexdigest()
            size = -(-len(stored) // pieces)
            for number in range(pieces):
                piece = stored[number * size : (number + 1) * size]
                self.put(f"billing/piece/{version:020}-{digest}/{number:06}", piece, None)
            root = json.dumps({"pieces": pieces, "bytes": len(stored), "sha256": digest}).encode()
        else:
            root = stored
        self.put(f"billing/whole/{version:020}", root, None)
        body = hashlib.sha256(envelope["body"].encode()).hexdigest()
        self.head = {"format": 1, "project": PROJECT, "version": version, "body": body, "whole": version}
        self.head |= {
            "whole_body": body,
            "whole_bytes": len(stored),
            "oldest": version,
            "deltas": 0,
            "delta_bytes": 0,
        }
        self._put_head()

    def delta(self, partition: str, side: str) -> None:
        envelope = delta(self.world, partition, side)
        self.put(f"billing/delta/{envelope['version']:020}", self._stored(envelope), None)
        self.head |= {
            "from": self.head["version"],
            "version": envelope["version"],
            "deltas": self.head["deltas"] + 1,
        }
        self._put_head()

    def hold(self, partition: str, epoch: int, attempt: int, *, reads: bool = False) -> None:
        until = time.time_ns() // 1_000_000 + 60_000
        call = {
            "context": CONTEXT,
            "partition": partition,
            "deployment": "d1",
            "attempt": attempt,
            "epoch": epoch,
        }
        self.put(
            f"billing/follow/hold/{partition}",
            json.dumps({**call, "reads": reads, "until": until}).encode(),
            60_000,
        )

    def release(self, partition: str) -> None:
        self.take(f"billing/follow/hold/{partition}")

    def _stored(self, envelope: dict[str, Any]) -> bytes:
        header = {name: value for name, value in envelope.items() if name != "body"}
        return json.dumps(header).encode() + b"\n" + envelope["body"].encode()

    def _put_head(self) -> None:
        self.put("billing/follow/head", json.dumps(self.head).encode(), None)


@pytest.fixture(params=["postgresql", "sqlite"])
def registry(
    request: pytest.FixtureRequest, world: World, pair: list[Server], tmp_path: Path
) -> tuple[str, Registry, Callable[[str], list[bytes]]]:
    """The registry's URL, how to write it, and how to read what lies below a prefix."""
    if request.param == "sqlite":
        path = tmp_path / "registry.db"
        with sqlite3.connect(path) as made:
            made.executescript(
                "PRAGMA journal_mode = WAL;"
                "CREATE TABLE entry (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL,"
                " until INTEGER) STRICT; CREATE TABLE revision (newest INTEGER NOT NULL) STRICT;"
                "INSERT INTO revision VALUES (0);"
            )
        made.close()

        def run(statement: str, *parameters: object) -> list[Any]:
            connection = sqlite3.connect(path, timeout=10)
            try:
                with connection:
                    return connection.execute(statement, parameters).fetchall()
            finally:
                connection.close()

        def put(key: str, value: bytes, ttl: int | None) -> None:
            until = None if ttl is None else time.time_ns() // 1_000_000 + ttl
            run("INSERT OR REPLACE INTO entry VALUES (?, ?, 1, ?)", key, value, until)

        return (
            f"file:{path}",
            Registry(world, put, lambda key: run("DELETE FROM entry WHERE key = ?", key) and None),
            lambda prefix: [row[0] for row in run("SELECT value FROM entry WHERE key LIKE ?", prefix + "%")],
        )
    server = pair[0]
    server.execute(
        "app",
        """
        create schema replat_registry;
        create table replat_registry.entry (key text collate "C" primary key, value bytea not null,
          revision bigint not null, until timestamptz);
        create sequence replat_registry.revision;
        """,
    )

    def tell(statement: str, *parameters: object) -> None:
        with server.connect("app") as connection, connection.transaction():
            connection.execute(statement, parameters)  # type: ignore[call-overload]
            connection.execute("SELECT pg_notify('replat_registry', %s)", (parameters[0],))

    def put_there(key: str, value: bytes, ttl: int | None) -> None:
        tell(
            "INSERT INTO replat_registry.entry VALUES (%s, %s, nextval('replat_registry.revision'), "
            "clock_timestamp() + %s * interval '1 millisecond') ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            key,
            value,
            ttl,
        )

    def read(prefix: str) -> list[bytes]:
        with server.connect("app") as connection:
            query = "SELECT value FROM replat_registry.entry WHERE starts_with(key, %s)"
            return [bytes(row[0]) for row in connection.execute(query, (prefix,)).fetchall()]

    url = f"postgresql://postgres@127.0.0.1:{server.port}/app"
    take = lambda key: tell("DELETE FROM replat_registry.entry WHERE key = %s", key)  # noqa: E731
    return url, Registry(world, put_there, take), read


def test_registry(
    world: World, registry: tuple[str, Registry, Callable[[str], list[bytes]]], make_router: MakeRouter
) -> None:
    url, writer, read = registry
    world.key = KEY
    router = make_router(
        url, key=KEY, policy=RoutePolicy(max_stale="1h", switch_wait="30s", start_wait="30s")
    )
    publishing = threading.Timer(0.1, writer.whole, kwargs={"pieces": 3})
    publishing.start()
    assert router.lookup("acme").database == "blue"
    publishing.join()
    for side in ("green", "blue"):
        writer.delta("acme", side)
        until(lambda side=side: router.lookup("acme").database == side)  # type: ignore[misc]
    late = make_router(url, key=KEY, source_options={"attend": False})
    assert late.lookup("acme").epoch == 3, "whole routes and then deltas"

    def attendance() -> dict[str, Any]:
        (found,) = [json.loads(data) for data in read("billing/attend/")]
        return dict(found)

    until(lambda: attendance()["version"] == world.version)
    with router.session("acme") as inside:
        inside.connection()
        writer.hold("acme", 3, 1)
        # A switch waits for whoever is inside.
        until(lambda: [(a["busy"], a["attempt"]) for a in attendance()["answers"]] == [(1, 1)])
        assert attendance()["answers"][0]["partition"] == "acme"
    until(lambda: [a["busy"] for a in attendance()["answers"]] == [0])
    _behaves_while_held(router, lambda: writer.delta("acme", "green"))
    until(lambda: attendance()["version"] == world.version)
    writer.hold("acme", 4, 2)
    until(
        lambda: (
            router.status()["holds"] == ["acme"] and [a["attempt"] for a in attendance()["answers"]] == [2]
        )
    )
    _behaves_while_held(router, lambda: writer.release("acme"))
    writer.hold("acme", 4, 3, reads=True)
    until(lambda: [a["attempt"] for a in attendance()["answers"]] == [3])
    impatient = make_router(
        url, key=KEY, policy=RoutePolicy(on_switch="raise"), source_options={"attend": False}
    )
    impatient.lookup("acme")
    with impatient.session("acme", read_only=True) as session, pytest.raises(PartitionHeld):
        session.connection()
    router.close()
    assert read("billing/attend/") == [], "who leaves says so"


def test_registry_of_another_project(
    world: World, registry: tuple[str, Registry, Callable[[str], list[bytes]]], make_router: MakeRouter
) -> None:
    url, writer, _ = registry
    writer.whole()
    with pytest.raises(WrongProject):
        make_router(url, project="other", policy=RoutePolicy(start_wait="30s")).lookup("acme")
    writer.put("billing/whole/" + f"{world.version:020}", b"{}", None)
    with pytest.raises(RoutesDamaged):
        make_router(url, policy=RoutePolicy(start_wait="30s")).lookup("acme")


def test_the_documented_envelope() -> None:
    """The example of docs/registry.md."""
    sealed = seal("shop", "tenants", 2, "{}", at=5, since=1, key=b"\x07" * 32)
    assert sealed["digest"] == "f8d800299af9ba4694784467e1d37abb22e3cf58d2143658603ee2b21ef4d079"
    assert sealed["mac"] == "6df056856b10f8898e5a0e40e57a827640db2ccfd55f981f970e272cb64e7d01"
