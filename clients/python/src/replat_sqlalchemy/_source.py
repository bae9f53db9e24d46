"""Where routes come from: a file, or an HTTP server; registries are in `_registry`.

A source is used by one thread, the follower's, but for `wake` and `after_fork`.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from ._envelope import Envelope, read_document, read_envelope
from ._errors import RoutesDamaged
from ._gate import Answer, Hold
from ._json import fields, parse_json
from ._policy import Secret, reveal
from ._routes import Routes

_ANSWER_BYTES_MAX: Final = 1 << 30
_TIMEOUT: Final = 10.0
_SILENCE_MAX: Final = 45.0
"""An event stream has a sign of life every 15 seconds; three missed ones are the end."""


@dataclass(frozen=True, slots=True)
class News:
    """What a source has to say to somebody with a certain version."""

    envelopes: Sequence[Envelope | Routes]
    """In order; bare routes are from a source that has no envelopes, and are refused where a key is expected."""
    holds: Sequence[Hold] | None
    """The holds that stand now; ``None`` if this source cannot tell."""


class RouteSource(Protocol):
    """Where routes come from."""

    @property
    def name(self) -> str:
        """Which one, for people; without secrets."""

    def read(self, have: int) -> News:
        """What takes a follower from version ``have`` (0: nothing) to the newest one. Raises anything on failure."""

    def wait(self, seconds: float) -> None:
        """Returns when something may have changed, somebody has called `wake`, or the time is over."""

    def rest(self, seconds: float) -> None:
        """Waits after a failure, without touching what failed; `wake` ends it too."""

    def attend(self, version: int, answers: Sequence[Answer]) -> None:
        """Tells the source that somebody goes by this version, and what there is to say about holds."""

    def wake(self) -> None:
        """Ends a `wait`, from any thread."""

    def after_fork(self) -> None:
        """Forgets connections that belong to the parent process, without closing them there."""

    def close(self) -> None:
        """Ends connections; the source may be used again afterwards."""


class _Waking:
    """The part of a source that is woken."""

    def __init__(self) -> None:
        self._changed = threading.Event()

    def rest(self, seconds: float) -> None:
        """See `RouteSource.rest`."""
        self._changed.wait(seconds)
        self._changed.clear()

    def attend(self, version: int, answers: Sequence[Answer]) -> None:
        """Nobody listens."""

    def wake(self) -> None:
        """See `RouteSource.wake`."""
        self._changed.set()

    def after_fork(self) -> None:
        """See `RouteSource.after_fork`."""
        self._changed = threading.Event()

    def close(self) -> None:
        """Nothing is open."""


class FileSource(_Waking):
    """Routes in a file that somebody else writes: envelopes, or bare routes.

    Whoever writes it should write another file and rename it. That the file can be read counts as hearing from the
    source, however old it is: its writer is not seen from here.
    """

    def __init__(self, path: str | Path, *, look_every: float = 0.1) -> None:
        super().__init__()
        self._path = Path(path)
        self._look_every = look_every
        self._seen: tuple[int, int, int] | None = None

    @property
    def name(self) -> str:
        """See `RouteSource.name`."""
        return f"file {self._path}"

    def read(self, have: int) -> News:
        """See `RouteSource.read`."""
        seen = self._look()
        found = list(read_document(self._path.read_bytes()))
        self._seen = seen
        return News([one for one in found if one.version > have], None)

    def wait(self, seconds: float) -> None:
        """See `RouteSource.wait`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._changed.wait(min(left, self._look_every)):
                break
            if self._look() != self._seen:
                break
        self._changed.clear()

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)


class HttpSource(_Waking):
    """Routes from replat's HTTP API.

    ``GET …/projects/P/routes/CONTEXT?since=V&wait=S`` answers with a JSON list of envelopes, as soon as there is one
    or after ``S`` seconds. ``GET …/events?topics=routes/CONTEXT`` is a stream of server-sent events: every event of
    it, whatever it is called, means that routes may have changed; ``event: hold`` carries
    ``{"partition", "epoch", "attempt", "deployment", "reads", "for_ms"}`` and ``event: release``
    ``{"partition", "attempt"}``. Without such a stream the first address is polled.
    """

    def __init__(
        self,
        url: str,
        *,
        project: str,
        context: str,
        token: Secret | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        parts = urllib.parse.urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("a URL of routes holds no user and no password; give a token")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an HTTP source is http:// or https:// and a host")
        self._https = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        quote = urllib.parse.quote
        self._routes = f"{self._base}/projects/{quote(project, safe='')}/routes/{quote(context, safe='')}"
        self._events = f"{self._base}/events?topics={quote(f'routes/{context}', safe='/')}"
        self._token = token
        self._tls = tls
        self._holds: dict[str, Hold] | None = None
        self._holds_lock = threading.Lock()
        self._stream: _Stream | None = None
        self._connection: http.client.HTTPConnection | None = None

    @property
    def name(self) -> str:
        """See `RouteSource.name`."""
        port = f":{self._port}" if self._port else ""
        return f"{'https' if self._https else 'http'}://{self._host}{port}{self._base}"

    def read(self, have: int) -> News:
        """See `RouteSource.read`."""
        if self._stream is None:
            self._stream = _Stream(self)
        # Holds first: one that is not there any more is never ended by routes older than those that answered it.
        with self._holds_lock:
            holds = None if self._holds is None else list(self._holds.values())
        return News(self.fetch(have, 0), holds)

    def fetch(self, have: int, wait: float, *, own: bool = False) -> list[Envelope]:
        """Asks once; with ``own`` on a connection of its own."""
        connection = self.connect(wait + _TIMEOUT) if own else (self._connection or self.connect(_TIMEOUT))
        try:
            connection.request("GET", f"{self._routes}?since={have}&wait={wait:g}", headers=self.headers())
            answer = connection.getresponse()
            data = answer.read(_ANSWER_BYTES_MAX + 1)
        except BaseException:
            connection.close()
            if not own:
                self._connection = None
            raise
        if own:
            connection.close()
        else:
            self._connection = connection
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}")
        if len(data) > _ANSWER_BYTES_MAX:
            raise RoutesDamaged("an answer with routes is longer than 1 GiB")
        document = parse_json(data, "the answer with routes")
        if not isinstance(document, list):
            raise RoutesDamaged("the answer with routes is not a list of envelopes")
        return [read_envelope(one) for one in document]

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """A connection that is not open yet."""
        if self._https:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def headers(self) -> dict[str, str]:
        """What every request carries; the token is read anew each time."""
        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {reveal(self._token)}"
        return headers

    @property
    def events(self) -> str:
        """The path of the stream."""
        return self._events

    def wait(self, seconds: float) -> None:
        """See `RouteSource.wait`."""
        self._changed.wait(seconds)
        self._changed.clear()

    def take_hold(self, event: str, data: str) -> None:
        """A hold or its end, from the stream."""
        if event == "hold":
            need = {
                "partition": str,
                "epoch": int,
                "attempt": int,
                "deployment": str,
                "reads": bool,
                "for_ms": int,
            }
            raw = fields(parse_json(data, "a hold"), "a hold", need, {"to": dict})
            until = time.monotonic() + raw["for_ms"] / 1000
            hold = Hold(
                raw["partition"], raw["epoch"], raw["attempt"], raw["deployment"], until, raw["reads"]
            )
            with self._holds_lock:
                self._holds = {**(self._holds or {}), hold.partition: hold}
        else:
            raw = fields(parse_json(data, "a release"), "a release", {"partition": str, "attempt": int})
            with self._holds_lock:
                standing = (self._holds or {}).get(raw["partition"])
                if standing is not None and standing.attempt <= raw["attempt"]:
                    self._holds = {k: v for k, v in (self._holds or {}).items() if k != raw["partition"]}

    def forget_holds(self) -> None:
        """The stream broke: what is held now is not known, and the databases' own guards remain."""
        with self._holds_lock:
            self._holds = None if self._holds is None else {}

    def after_fork(self) -> None:
        """See `RouteSource.after_fork`."""
        super().after_fork()
        self._holds_lock = threading.Lock()
        self._stream, self._connection = None, None

    def close(self) -> None:
        """See `RouteSource.close`."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Stream:
    """A thread that listens to the event stream, or polls if there is none, and wakes the source."""

    _NO_STREAM: Final = (404, 405, 406, 410, 501)

    def __init__(self, source: HttpSource) -> None:
        self._source = source
        self._closed = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._have = 0
        self._last_id: str | None = None
        threading.Thread(target=self._run, name="replat-events", daemon=True).start()

    def close(self) -> None:
        """Ends the thread soon."""
        self._closed.set()
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)

    def _run(self) -> None:
        pause = 0.05
        while not self._closed.is_set():
            try:
                if not self._listen():
                    self._poll()
                pause = 0.05
            except Exception:  # the follower's own reads say what is wrong; here it is only tried again
                self._closed.wait(pause)
                pause = min(pause * 2, 2.0)

    def _listen(self) -> bool:
        """Listens until the stream ends; ``False`` if there is no stream."""
        connection = self._connection = self._source.connect(_SILENCE_MAX)
        try:
            headers = {**self._source.headers(), "Accept": "text/event-stream", "Cache-Control": "no-store"}
            if self._last_id is not None:
                headers["Last-Event-ID"] = self._last_id
            connection.request("GET", self._source.events, headers=headers)
            answer = connection.getresponse()
            if answer.status in self._NO_STREAM:
                self._last_id = None
                return False
            kind = answer.getheader("Content-Type", "")
            if answer.status != 200 or not kind.startswith("text/event-stream"):
                raise http.client.HTTPException(f"status {answer.status}")
            # Whatever came between the last read and now is not in the stream.
            self._source.wake()
            for event, data, last_id in parse_events(iter(answer.readline, b"")):
                self._last_id = last_id or self._last_id
                if event in ("hold", "release"):
                    self._source.take_hold(event, data)
                self._source.wake()
            return True
        finally:
            self._source.forget_holds()
            connection.close()

    def _poll(self) -> None:
        """Asks for what is newer than what was seen; an answer with something in it wakes the source."""
        envelopes = self._source.fetch(self._have, 20, own=True)
        if envelopes:
            self._have = max(envelope.version for envelope in envelopes)
            self._source.wake()
        else:
            self._closed.wait(0.05)


def parse_events(lines: Iterable[bytes]) -> Iterable[tuple[str, str, str | None]]:
    """The events of a stream: name, data and id."""
    event, data, last_id = "message", list[str](), None
    for raw in lines:
        line = raw.decode("utf-8", errors="replace").rstrip("\r\n")
        if not line:
            if data:
                yield event, "\n".join(data), last_id
            event, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last_id = value


def source_from_url(
    url: str, *, project: str, context: str, token: Secret | None, options: dict[str, Any]
) -> RouteSource:
    """The source that a URL names."""
    if url.startswith("file:"):
        path = url[len("file:") :]
        path = urllib.parse.unquote(path[2:]) if path.startswith("//") else path
        if _is_sqlite(path):
            from ._registry import SqliteRegistry

            return SqliteRegistry(path, project=project, context=context, **options)
        return FileSource(path, **options)
    if url.startswith(("http://", "https://")):
        return HttpSource(url, project=project, context=context, token=token, **options)
    if url.startswith(("postgresql", "postgres")):
        from ._registry import PostgresRegistry

        return PostgresRegistry(url, project=project, context=context, password=token, **options)
    raise ValueError("a source of routes is file:PATH, http(s)://… or postgresql://…")


def _is_sqlite(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return path.endswith((".db", ".sqlite", ".sqlite3"))
