"""Light writes to the partition that moves and to one that stays.

The client knows nothing of replat but its SQLSTATE: whoever is refused with 25006 goes to the other side.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter

import psycopg

REFUSED = "25006"
PAUSE = 0.03


class Writer(threading.Thread):
    """Carries out the case's writes one after the other, one transaction each, for one key.

    A write is a statement for blue, and the same in the words of the new version for green."""

    def __init__(self, name: str, urls: list[str], schema: str, tenant, writes: list[tuple[str, str]]):
        super().__init__(name=name, daemon=True)
        self.urls, self.schema, self.tenant, self.writes = urls, schema, tenant, writes
        self.home = 0
        self.acknowledged: set[str] = set()
        self.done = 0
        self.refused = 0
        self.errors: Counter[str] = Counter()
        self._go, self._idle, self._end = threading.Event(), threading.Event(), threading.Event()

    def run(self) -> None:
        sessions: list[psycopg.Connection | None] = [None, None]
        for number in itertools.count(1):
            while not self._go.is_set():
                self._idle.set()
                if self._end.is_set():
                    return
                self._go.wait(0.05)
            self._idle.clear()
            name = f"load-{self.name}-{number}"
            for index, statements in enumerate(self.writes):
                self._one(sessions, statements, name, number, is_first=index == 0)
            time.sleep(PAUSE)

    def _one(self, sessions, statements: tuple[str, str], name: str, number: int, is_first: bool) -> None:
        """Until it is acknowledged, or fails for a reason other than where the partition lives."""
        for _ in range(400):
            session, statement = None, statements[self.home]
            try:
                session = sessions[self.home]
                if session is None or session.closed:
                    session = sessions[self.home] = psycopg.connect(
                        self.urls[self.home], autocommit=True, cursor_factory=psycopg.ClientCursor
                    )
                    session.execute(f'SET search_path = "{self.schema}", public')
                session.execute(statement, {"tenant": self.tenant, "name": name, "n": number})
            except psycopg.Error as error:
                self._clear(session)
                if error.sqlstate != REFUSED or len(self.urls) == 1:
                    self.errors[
                        f"{error.sqlstate} {str(error).splitlines()[0][:160]} | {statement[:70]}"
                    ] += 1
                    return
                self.refused += 1
                self.home = 1 - self.home
                time.sleep(0.01)
                continue
            self.done += 1
            if is_first:
                self.acknowledged.add(name)
            return
        self.errors["refused on both sides for seconds"] += 1

    @staticmethod
    def _clear(session) -> None:
        """Ends a transaction that failed half-way, so that the session can be used again."""
        if (
            session is not None
            and not session.closed
            and session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE
        ):
            session.execute("ROLLBACK")

    def resume(self) -> None:
        self._idle.clear()
        self._go.set()

    def pause(self) -> None:
        """Returns when the write that runs has ended."""
        self._go.clear()
        self._idle.wait(30)

    def end(self) -> None:
        self._end.set()
        self._go.clear()
        self.join(30)
