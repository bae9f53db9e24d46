"""Routes straight from a registry: PostgreSQL, or the SQLite file of one machine (``docs/registry.md``).

Of each context there is one head; beside it are whole routes and the deltas since, each under a key with its version.
Nothing of it is believed: each envelope proves itself, and one must go on where the other ended.

A router that follows a registry attends there: it tells under a lease that it is alive, which version it goes by, and
how many transactions are still inside a partition that is held. A switch waits for these answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import select
import socket
import sqlite3
import threading
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from ._envelope import Envelope, stored_envelope
from ._errors import RoutesDamaged, WrongProject
from ._gate import Answer, Hold
from ._json import fields, parse_json
from ._policy import Duration, Secret, reveal, seconds
from ._source import News

_log: Final = logging.getLogger("replat_sqlalchemy")
_BYTES_MAX: Final = 2 << 30
_TRIES: Final = 8
_BY_KEY_MAX: Final = 16
_LINGER_MS: Final = 2_000
"""The server forgets what has ended this much later."""
_LAST: Final = "\U0010ffff"
"""No key has a character this high."""
_HOLD_MAX: Final = 60.0
"""A hold never lasts longer, whatever the registry's clock says. Unit: seconds."""

_HEAD: Final[dict[str, type]] = {
    "format": int,
    "project": str,
    "version": int,
    "body": str,
    "whole": int,
    "whole_body": str,
    "whole_bytes": int,
    "oldest": int,
    "deltas": int,
    "delta_bytes": int,
}
_HOLD: Final[dict[str, type]] = {
    "context": str,
    "partition": str,
    "deployment": str,
    "attempt": int,
    "epoch": int,
    "reads": bool,
    "until": int,
}


class _Gap(Exception):
    """Something is not there: read again, since a publisher may have tidied up."""


class KvRegistry(ABC):
    """A registry on any server that keeps bytes under keys."""

    def __init__(
        self,
        *,
        project: str,
        context: str,
        attend: bool = True,
        lease: Duration = "10s",
        place: str | None = None,
    ) -> None:
        self._project, self._context = project, context
        self._keys = segment(context)
        self._attends = attend
        self._lease = seconds(lease)
        self._place = place or socket.gethostname()
        self._new_id()

    def _new_id(self) -> None:
        self._id = secrets.token_hex(8)
        self._said: tuple[object, ...] | None = None
        self._renew_at = 0.0

    # The server

    @property
    @abstractmethod
    def name(self) -> str:
        """See `RouteSource.name`."""

    @abstractmethod
    def _get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values under these keys."""

    @abstractmethod
    def _list(self, prefix: str) -> list[tuple[str, bytes]]:
        """All values whose keys begin with ``prefix``, by key."""

    @abstractmethod
    def _now_ms(self) -> int:
        """The server's clock, in milliseconds since 1970."""

    @abstractmethod
    def _put(self, key: str, value: bytes, ttl_ms: int) -> None:
        """Puts a value that ends by itself."""

    @abstractmethod
    def _delete(self, key: str) -> None:
        """Ends a value."""

    # What a source does

    def read(self, have: int) -> News:
        """See `RouteSource.read`."""
        # Holds first: one that is not there any more is never ended by routes older than those that answered it.
        holds = self._holds()
        why = ""
        for _ in range(_TRIES):
            head = self._head()
            if head is None or head["version"] <= have:
                return News([], holds)
            try:
                return News(self._lead(head, have), holds)
            except _Gap as gap:
                why = str(gap)
        raise RoutesDamaged(f"the registry cannot be used: {why}")

    def attend(self, version: int, answers: Sequence[Answer]) -> None:
        """See `RouteSource.attend`."""
        if not self._attends:
            return
        said = (version, *answers)
        now = time.monotonic()
        if said == self._said and now < self._renew_at:
            return
        lease_ms = int(self._lease * 1000)
        document = {
            "id": self._id,
            "kind": "sqlalchemy",
            "place": f"{self._place} {os.getpid()}",
            "context": self._context,
            "version": version,
            "until": self._now_ms() + lease_ms,
            "answers": [asdict(answer) for answer in answers],
            "pinned": 0,
        }
        self._put(f"{self._keys}/attend/{self._id}", json.dumps(document).encode(), lease_ms + _LINGER_MS)
        self._said, self._renew_at = said, now + self._lease / 4

    def _leave(self) -> None:
        if self._said is not None:
            with contextlib.suppress(Exception):
                self._delete(f"{self._keys}/attend/{self._id}")
            self._said = None

    # The layout

    def _head(self) -> dict[str, Any] | None:
        (data,) = self._get([f"{self._keys}/follow/head"])
        if data is None:
            return None
        head = fields(parse_json(data, "the head"), "the head", _HEAD, {"from": int})
        if head["format"] != 1:
            raise RoutesDamaged(f"the registry's head has format {head['format']}, and this version knows 1")
        if head["project"] != self._project:
            raise WrongProject(
                f"the registry belongs to project {head['project']!r}, not to {self._project!r}"
            )
        if not 1 <= head["oldest"] <= head["whole"] <= head["version"]:
            raise RoutesDamaged("the registry's head says what cannot be")
        return head

    def _lead(self, head: dict[str, Any], have: int) -> list[Envelope]:
        if have >= head["oldest"]:
            deltas = self._deltas(head, have)
            if deltas is not None:
                return deltas
        whole = self._envelope("whole", head["whole"])
        if whole.since is not None:
            raise RoutesDamaged("a delta lies where whole routes should")
        deltas = self._deltas(head, head["whole"])
        if deltas is None:
            raise _Gap(f"the deltas from version {head['whole']} to {head['version']} do not join")
        return [whole, *deltas]

    def _deltas(self, head: dict[str, Any], since: int) -> list[Envelope] | None:
        newest = head["version"]
        prefix = f"{self._keys}/delta/"
        roots: list[tuple[int, bytes]] = []
        if since == newest:
            return []
        if head["from"] == since or newest - since <= _BY_KEY_MAX:
            # Versions may be left out, so that some of these need not be there.
            versions = [newest] if head["from"] == since else list(range(since + 1, newest + 1))
            found = self._get([f"{prefix}{version:020}" for version in versions])
            roots = [
                (version, data) for version, data in zip(versions, found, strict=True) if data is not None
            ]
        else:
            for key, data in self._list(prefix):
                digits = key[len(prefix) :][:20]
                if digits.isdecimal() and since < int(digits) <= newest:
                    roots.append((int(digits), data))
        joined, at = [], since
        for version, root in roots:
            delta = self._unpacked(version, root)
            if delta.since != at:
                return None
            at = version
            joined.append(delta)
        return joined if at == newest else None

    def _envelope(self, kind: str, version: int) -> Envelope:
        (root,) = self._get([f"{self._keys}/{kind}/{version:020}"])
        if root is None:
            raise _Gap(f"{kind} routes of version {version} are not there")
        return self._unpacked(version, root)

    def _unpacked(self, version: int, root: bytes) -> Envelope:
        """An envelope, gathered from its pieces if it was too long for one value."""
        data = root
        if b"\n" not in root:
            stub = fields(parse_json(root, "a stub"), "a stub", {"pieces": int, "bytes": int, "sha256": str})
            if not 0 <= stub["pieces"] <= stub["bytes"] <= _BYTES_MAX:
                raise RoutesDamaged("a stub says what cannot be")
            gathered = bytearray()
            for number in range(stub["pieces"]):
                (piece,) = self._get([f"{self._keys}/piece/{version:020}-{stub['sha256']}/{number:06}"])
                if piece is None:
                    raise _Gap(f"pieces of version {version} are not there")
                gathered += piece
                if len(gathered) > stub["bytes"]:
                    break
            data = bytes(gathered)
            if len(data) != stub["bytes"] or hashlib.sha256(data).hexdigest() != stub["sha256"].lower():
                raise RoutesDamaged("the pieces of an envelope are not what was cut")
        envelope = stored_envelope(data)
        if envelope.version != version:
            raise RoutesDamaged(f"version {envelope.version} lies in the place of version {version}")
        return envelope

    def _holds(self) -> list[Hold]:
        found = self._list(f"{self._keys}/follow/hold/")
        if not found:
            return []
        here, there = time.monotonic(), self._now_ms()
        holds = []
        for _, data in found:
            raw = fields(parse_json(data, "a hold"), "a hold", _HOLD, {"to": dict})
            left = min((raw["until"] - there) / 1000, _HOLD_MAX)
            if left > 0:
                holds.append(
                    Hold(
                        raw["partition"],
                        raw["epoch"],
                        raw["attempt"],
                        raw["deployment"],
                        here + left,
                        raw["reads"],
                    )
                )
        return holds


def segment(name: str) -> str:
    """``name`` as one part of a key: all but letters, digits, ``_`` and ``-`` by its bytes, as ``=2F``."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    return "".join(chr(byte) if byte in plain else f"={byte:02X}" for byte in name.encode())


class _Pipe:
    """Wakes a thread that waits for a socket."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def __del__(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """What to wait for."""
        return self._read

    def ring(self) -> None:
        """Wakes the thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")

    def drain(self) -> None:
        """Forgets that it was woken."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)

    def wait(self, seconds: float) -> None:
        """Waits for a ring alone."""
        select.select([self._read], [], [], max(0.0, seconds))
        self.drain()


class PostgresRegistry(KvRegistry):
    """The registry in a PostgreSQL database; hears of changes by NOTIFY, and looks once a second anyway.

    Needs psycopg 3. Connection settings are libpq's; ``password`` may be given apart from the URL.
    """

    def __init__(
        self,
        url: str,
        *,
        project: str,
        context: str,
        password: Secret | None = None,
        attend: bool = True,
        lease: Duration = "10s",
        place: str | None = None,
    ) -> None:
        super().__init__(project=project, context=context, attend=attend, lease=lease, place=place)
        try:
            import psycopg
        except ImportError as why:
            raise ImportError(
                "a PostgreSQL registry needs psycopg: pip install replat-sqlalchemy[psycopg]"
            ) from why
        self._psycopg = psycopg
        scheme, colon, rest = url.partition("://")
        self._url = f"{scheme.partition('+')[0]}{colon}{rest}"
        parts = urllib.parse.urlsplit(self._url)
        self._shown = (
            f"postgresql://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
        )
        self._password = password
        self._connection: Any = None
        self._pipe = _Pipe()

    @property
    def name(self) -> str:
        """See `RouteSource.name`."""
        return self._shown

    def _rows(self, query: str, *parameters: object) -> list[Any]:
        if self._connection is None or self._connection.closed:
            given: dict[str, Any] = {} if self._password is None else {"password": reveal(self._password)}
            connection = self._psycopg.connect(
                self._url,
                autocommit=True,
                application_name="replat registry",
                connect_timeout=10,
                prepare_threshold=None,
                options="-c statement_timeout=10000",
                **given,
            )
            connection.execute("LISTEN replat_registry")
            self._connection = connection
        try:
            cursor = self._connection.execute(query, parameters)
            return list(cursor.fetchall()) if cursor.description else []
        except self._psycopg.errors.UndefinedTable:
            return []
        except self._psycopg.errors.InvalidSchemaName:
            return []
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _get(self, keys: Sequence[str]) -> list[bytes | None]:
        query = (
            "SELECT e.key, e.value FROM replat_registry.entry e WHERE e.key = ANY (%s) "
            "AND (e.until IS NULL OR e.until > pg_catalog.clock_timestamp())"
        )
        found = {key: bytes(value) for key, value in self._rows(query, list(keys))}
        return [found.get(key) for key in keys]

    def _list(self, prefix: str) -> list[tuple[str, bytes]]:
        query = (
            "SELECT e.key, e.value FROM replat_registry.entry e WHERE e.key >= %s AND e.key < %s "
            "AND (e.until IS NULL OR e.until > pg_catalog.clock_timestamp()) ORDER BY e.key"
        )
        return [(key, bytes(value)) for key, value in self._rows(query, prefix, prefix + _LAST)]

    def _now_ms(self) -> int:
        ((now,),) = self._rows("SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::int8")
        return int(now)

    def _put(self, key: str, value: bytes, ttl_ms: int) -> None:
        query = (
            "WITH put AS (INSERT INTO replat_registry.entry (key, value, revision, until) VALUES (%s, %s, "
            "pg_catalog.nextval('replat_registry.revision'), "
            "pg_catalog.clock_timestamp() + %s * interval '1 millisecond') "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision, "
            "until = excluded.until RETURNING key) SELECT pg_catalog.pg_notify('replat_registry', key) FROM put"
        )
        try:
            self._rows(query, key, value, ttl_ms)
        except self._psycopg.errors.InsufficientPrivilege:
            # Routes can be followed all the same. Switches then do not wait for this router, and its writers meet
            # the databases' guards instead of a hold.
            _log.warning("no right to attend at %s: switches will not wait for this router", self.name)
            self._attends = False

    def _delete(self, key: str) -> None:
        self._rows(
            "WITH gone AS (DELETE FROM replat_registry.entry WHERE key = %s RETURNING key) "
            "SELECT pg_catalog.pg_notify('replat_registry', key) FROM gone",
            key,
        )

    def wait(self, seconds: float) -> None:
        """See `RouteSource.wait`."""
        deadline = time.monotonic() + min(seconds, 1.0)
        followed = f"{self._keys}/follow/"
        while (left := deadline - time.monotonic()) > 0 and self._connection is not None:
            heard = list(self._connection.notifies(timeout=0))
            if any(notice.payload.startswith(followed) for notice in heard):
                return
            ready, _, _ = select.select([self._connection.fileno(), self._pipe.fileno()], [], [], left)
            if self._pipe.fileno() in ready:
                self._pipe.drain()
                return
        if self._connection is None:
            self.rest(deadline - time.monotonic())

    def rest(self, seconds: float) -> None:
        """See `RouteSource.rest`."""
        self._pipe.wait(seconds)

    def wake(self) -> None:
        """See `RouteSource.wake`."""
        self._pipe.ring()

    def after_fork(self) -> None:
        """See `RouteSource.after_fork`."""
        # Kept, so that nobody closes it: its socket is the parent's.
        self._parents = self._connection
        self._connection = None
        self._pipe = _Pipe()
        self._new_id()

    def close(self) -> None:
        """See `RouteSource.close`."""
        self._leave()
        self._drop()


class SqliteRegistry(KvRegistry):
    """The registry in a SQLite file, for the processes of one machine."""

    def __init__(
        self,
        path: str,
        *,
        project: str,
        context: str,
        attend: bool = True,
        lease: Duration = "10s",
        place: str | None = None,
    ) -> None:
        super().__init__(project=project, context=context, attend=attend, lease=lease, place=place)
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._changed = threading.Event()
        self._seen: object = None

    @property
    def name(self) -> str:
        """See `RouteSource.name`."""
        return f"file {self._path}"

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # Never made here: a registry that is missing is to be seen as missing.
            url = f"file:{urllib.parse.quote(os.path.abspath(self._path))}?mode=rw"
            self._connection = sqlite3.connect(url, uri=True, timeout=5.0, isolation_level=None)
            self._connection.execute("PRAGMA trusted_schema = OFF")
        return self._connection

    def _get(self, keys: Sequence[str]) -> list[bytes | None]:
        query = "SELECT value FROM entry WHERE key = ? AND (until IS NULL OR until > ?)"
        rows = [self._open().execute(query, (key, self._now_ms())).fetchone() for key in keys]
        return [None if row is None else bytes(row[0]) for row in rows]

    def _list(self, prefix: str) -> list[tuple[str, bytes]]:
        query = "SELECT key, value FROM entry WHERE key >= ? AND key < ? AND (until IS NULL OR until > ?) ORDER BY key"
        rows = self._open().execute(query, (prefix, prefix + _LAST, self._now_ms()))
        return [(key, bytes(value)) for key, value in rows]

    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def _put(self, key: str, value: bytes, ttl_ms: int) -> None:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            (revision,) = connection.execute(
                "UPDATE revision SET newest = newest + 1 RETURNING newest"
            ).fetchone()
            connection.execute(
                "INSERT INTO entry (key, value, revision, until) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE "
                "SET value = excluded.value, revision = excluded.revision, until = excluded.until",
                (key, value, revision, self._now_ms() + ttl_ms),
            )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _delete(self, key: str) -> None:
        self._open().execute("DELETE FROM entry WHERE key = ?", (key,))

    def wait(self, seconds: float) -> None:
        """See `RouteSource.wait`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._changed.wait(min(left, 0.02)):
            seen = self._open().execute("PRAGMA data_version").fetchone()
            if seen != self._seen:
                self._seen = seen
                break
        self._changed.clear()

    def rest(self, seconds: float) -> None:
        """See `RouteSource.rest`."""
        self._changed.wait(seconds)
        self._changed.clear()

    def wake(self) -> None:
        """See `RouteSource.wake`."""
        self._changed.set()

    def after_fork(self) -> None:
        """See `RouteSource.after_fork`."""
        # SQLite must not be closed in a child either: that would release the parent's locks.
        self._parents = self._connection
        self._connection = None
        self._changed = threading.Event()
        self._new_id()

    def close(self) -> None:
        """See `RouteSource.close`."""
        self._leave()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
