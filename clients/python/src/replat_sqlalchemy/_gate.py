"""Holds of partitions: while one lasts, no new transaction of the partition begins here."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    """A switch asks that new transactions of a partition wait."""

    partition: str
    epoch: int
    """The epoch that the partition has until the switch; routes with a higher one end the hold."""
    attempt: int
    deployment: str
    until: float
    """By this process's monotonic clock: after this moment nobody waits any more."""
    reads: bool = True
    """Whether transactions that only read wait as well."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a router has to say about a hold."""

    partition: str
    deployment: str
    attempt: int
    busy: int
    """Transactions that are still running; 0: it is quiet here, and stays so while the hold lasts."""
    held: int
    """Transactions that wait."""


class Gate:
    """Who is inside a partition, and whether anybody may enter.

    To enter is one step under one lock: whoever closes the gate and then counts nobody inside knows that nobody will
    come in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._holds: dict[str, Hold] = {}
        self._heard: dict[str, int] = {}
        self._inside: dict[str, weakref.WeakKeyDictionary[object, bool]] = {}
        """By partition, who is inside, and whether they only read."""
        self._waiting: dict[str, int] = {}

    def enter(self, owner: object, partition: str, epoch: int, *, reads: bool = False) -> Hold | None:
        """Lets ``owner`` in, or gives the hold that keeps it out; ``reads``: it will do nothing else."""
        with self._lock:
            hold = self._standing(partition, epoch)
            if hold is None or (reads and not hold.reads):
                hold = None
                self._inside.setdefault(partition, weakref.WeakKeyDictionary())[owner] = reads
            return hold

    def leave(self, owner: object, partition: str) -> bool:
        """``owner`` is not inside any more. Whether somebody waits to hear of that, since the partition is held."""
        with self._lock:
            inside = self._inside.get(partition)
            if inside is None or inside.pop(owner, None) is None:
                return False
            if not inside:
                del self._inside[partition]
            return partition in self._holds

    def is_held(self, partition: str, epoch: int) -> bool:
        """Whether somebody who goes by ``epoch`` would have to wait."""
        with self._lock:
            return self._standing(partition, epoch) is not None

    def hear(self, partition: str, epoch: int) -> None:
        """A database has said at which epoch a partition is: who goes by an older one would be refused."""
        with self._lock:
            self._heard[partition] = max(epoch, self._heard.get(partition, 0))

    def heard(self, partition: str) -> int:
        """The newest epoch of which a database has spoken; 0 if none has."""
        with self._lock:
            return self._heard.get(partition, 0)

    def wait_counted(self, partition: str, by: int) -> None:
        """Counts who waits for the partition."""
        with self._lock:
            self._waiting[partition] = self._waiting.get(partition, 0) + by

    def answers(self, epoch_of: Callable[[str], int | None]) -> list[Answer]:
        """What there is to say of the holds that stand; ``epoch_of`` gives the epoch by which one goes here."""
        with self._lock:
            standing = [
                hold
                for name, hold in self._holds.items()
                if self._standing(name, epoch_of(name) or 0) is not None
            ]
            return [
                Answer(
                    hold.partition,
                    hold.deployment,
                    hold.attempt,
                    self._busy(hold),
                    self._waiting.get(hold.partition, 0),
                )
                for hold in standing
            ]

    def set(self, holds: Iterable[Hold]) -> list[Hold]:
        """Puts these holds in the place of all others; the ones that were not there before."""
        with self._lock:
            before, self._holds = self._holds, {hold.partition: hold for hold in holds}
            return [hold for hold in self._holds.values() if not _same(before.get(hold.partition), hold)]

    def holds(self) -> Mapping[str, Hold]:
        """The holds by partition."""
        with self._lock:
            return dict(self._holds)

    def _busy(self, hold: Hold) -> int:
        # A hold that lets readers pass does not wait for them either.
        inside = self._inside.get(hold.partition)
        return 0 if inside is None else sum(1 for reads in list(inside.values()) if hold.reads or not reads)

    def _standing(self, partition: str, epoch: int) -> Hold | None:
        hold = self._holds.get(partition)
        if hold is None or epoch > hold.epoch or self._clock() >= hold.until:
            return None
        return hold


def _same(a: Hold | None, b: Hold) -> bool:
    return a is not None and (a.deployment, a.attempt) == (b.deployment, b.attempt)
