"""Follows one context's routes in a thread of its own, and tells whoever waits when they change."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ._envelope import Envelope, advance
from ._errors import RouterError, RoutesDamaged, RouteSnapshot
from ._gate import Answer, Gate, Hold
from ._map import Home
from ._routes import Routes, expect
from ._signal import Signal
from ._source import RouteSource

_log: Final = logging.getLogger("replat_sqlalchemy")
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


class Follower:
    """The newest routes of one context, and how long ago their source was heard.

    Versions only rise: what is lower, damaged, or another project's is refused, and what was there stays in force.
    """

    def __init__(
        self,
        source: RouteSource,
        *,
        project: str,
        context: str,
        key: bytes | None,
        every: float,
        tell: Callable[[str, dict[str, object]], None],
    ) -> None:
        self.gate: Final = Gate()
        self.signal: Final = Signal()
        self._source = source
        self._project, self._context, self._key = project, context, key
        self._every = every
        self._tell = tell
        self._routes: Routes | None = None
        self._heard: float | None = None
        self._reads = 0
        self._events: deque[str] = deque(maxlen=8)
        self._fault: RouterError | None = None
        self._formerly: dict[str, Home] = {}
        self._closed = False
        self._lock = threading.Lock()
        self._process = 0
        self._thread: threading.Thread | None = None

    @property
    def routes(self) -> Routes | None:
        """The newest routes; ``None`` until there are any."""
        self.ensure_running()
        return self._routes

    @property
    def fault(self) -> RouterError | None:
        """What was wrong with what the source gave last, if anything."""
        return self._fault

    def age(self) -> float | None:
        """Seconds since the source was last heard in full; ``None``: never."""
        heard = self._heard
        return None if heard is None else max(0.0, time.monotonic() - heard)

    def snapshot(self, partition: str | None = None) -> RouteSnapshot:
        """What is known right now, for errors."""
        routes = self._routes
        leaf = routes.map.leaf(partition) if routes is not None and partition is not None else None
        return RouteSnapshot(
            project=self._project,
            context=self._context,
            version=0 if routes is None else routes.version,
            age=self.age(),
            partition=partition,
            home=None if leaf is None else str(leaf.home),
            epoch=None if leaf is None else leaf.epoch,
            events=tuple(self._events),
        )

    def answers(self) -> list[Answer]:
        """What there is to say about the holds that stand."""

        def epoch_of(partition: str) -> int | None:
            leaf = None if self._routes is None else self._routes.map.leaf(partition)
            return None if leaf is None else leaf.epoch

        return self.gate.answers(epoch_of)

    def reads_begun(self) -> int:
        """Counts the times that the source was read through."""
        return self._reads

    def ask(self) -> None:
        """Lets the source be read at once."""
        self.ensure_running()
        self._source.wake()

    def ensure_running(self) -> None:
        """Starts the thread if this process has none: a fork does not take threads along."""
        if self._process == os.getpid() or self._closed:
            return
        with self._lock:
            if self._process == os.getpid() or self._closed:
                return
            if self._process != 0:
                self._source.after_fork()
            self._thread = threading.Thread(
                target=self._run, name=f"replat-routes-{self._context}", daemon=True
            )
            self._process = os.getpid()
            self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._source.wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)
        self.signal.notify()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while not self._closed:
                try:
                    self._read_once()
                    pause = _FIRST_PAUSE
                    self._source.wait(self._every)
                except (
                    Exception
                ) as why:  # whatever a driver or the network throws: the routes stay as they are
                    self._note_failure(why)
                    self._source.rest(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            self._source.close()

    def _read_once(self) -> None:
        begun = time.monotonic()
        before = self._routes
        news = self._source.read(0 if before is None else before.version)
        routes = before
        try:
            for envelope in news.envelopes:
                routes = self._advanced(routes, envelope)
        except RouterError:
            # What came before the damage is good.
            self._take(before, routes)
            raise
        if before is None:
            # Whoever waits for the first routes goes on as soon as they are there; so the rest has to be there before.
            if news.holds is not None:
                self._hold(news.holds)
            self._heard = begun
        self._take(before, routes)
        if before is not None and news.holds is not None:
            self._hold(news.holds)
        # What was read is at least as new as the moment at which reading began.
        self._heard = begun
        self._fault = None
        self._reads += 1
        self.signal.notify()
        if routes is not None:
            self._source.attend(routes.version, self.answers())

    def _advanced(self, routes: Routes | None, published: Envelope | Routes) -> Routes:
        if isinstance(published, Envelope):
            return advance(routes, published, self._project, self._context, self._key)
        if self._key is not None:
            raise RoutesDamaged("these routes are not signed, and this project's routes are")
        newer = routes is None or published.version > routes.version
        return expect(published, self._project, self._context) if newer or routes is None else routes

    def _take(self, before: Routes | None, after: Routes | None) -> None:
        if after is None or after is before:
            return
        self._routes = after
        self._events.append(f"v{after.version}")
        moved = [] if before is None else self._moved(before, after)
        self.signal.notify()
        for name, facts in moved:
            self._events.append(f"{name} {facts['partition']} to {facts['home']} e{facts['epoch']}")
            self._tell(name, facts)
        self._tell("routes", {"version": after.version})

    def _moved(self, before: Routes, after: Routes) -> list[tuple[str, dict[str, object]]]:
        told: list[tuple[str, dict[str, object]]] = []
        for leaf in after.map.by_name().values():
            old = before.map.leaf(leaf.partition)
            if old is None or old is leaf or old.home == leaf.home:
                continue
            back = self._formerly.get(leaf.partition) == leaf.home
            self._formerly[leaf.partition] = old.home
            facts: dict[str, object] = {
                "partition": leaf.partition,
                "before": str(old.home),
                "home": str(leaf.home),
                "epoch": leaf.epoch,
                "version": after.version,
            }
            told.append(("rolled_back" if back else "switched", facts))
        return told

    def _hold(self, holds: Sequence[Hold]) -> None:
        for hold in self.gate.set(holds):
            self._events.append(f"hold {hold.partition} e{hold.epoch}")
            self._tell("begin_switch", {"partition": hold.partition, "epoch": hold.epoch})

    def _note_failure(self, why: Exception) -> None:
        if isinstance(why, RouterError):
            self._fault = why
        text = (
            f"{self._source.name}: {why}"
            if isinstance(why, RouterError)
            else f"{self._source.name}: {_kind(why)}"
        )
        if not self._events or self._events[-1] != text:
            self._events.append(text)
            _log.warning("routes of %s/%s: %s", self._project, self._context, text)
        self.signal.notify()


def _kind(why: Exception) -> str:
    """The kind of an outside error; its text could hold a connection string."""
    reason = getattr(why, "reason", None) or getattr(why, "orig", None)
    return type(why).__name__ if reason is None else f"{type(why).__name__} ({type(reason).__name__})"
