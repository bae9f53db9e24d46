"""Which partition the current request is about, as a context variable: right for threads and for tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from ._errors import NoPartition, PartitionLocked
from ._target import PartitionOrKey, canonical


@dataclass(frozen=True, slots=True)
class _Scope:
    target: PartitionOrKey
    lock: bool
    context: str | None
    outer: _Scope | None


_current: Final[ContextVar[_Scope | None]] = ContextVar("replat_partition", default=None)


@contextmanager
def partition_scope(
    partition_or_key: PartitionOrKey, *, lock: bool = False, context: str | None = None
) -> Iterator[None]:
    """Names the partition of all sessions that are opened inside and do not name one themselves.

    With ``lock``, whoever names another one inside gets `PartitionLocked`. With ``context``, only routers of that
    context are concerned. Works for threads (each has its own) and for tasks (each inherits its creator's).
    """
    held = _lock_of(context)
    if held is not None and canonical(held.target) != canonical(partition_or_key):
        raise PartitionLocked(
            f"a locked scope of {held.target!r} is open, and {partition_or_key!r} was asked for"
        )
    token = _current.set(_Scope(partition_or_key, lock, context, _current.get()))
    try:
        yield
    finally:
        _current.reset(token)


def scoped(
    context: str,
    explicit: PartitionOrKey | None,
    same: Callable[[PartitionOrKey, PartitionOrKey], bool],
) -> PartitionOrKey:
    """What is meant: ``explicit``, or else the innermost scope's; a locked scope admits nothing else.

    ``same`` says whether two targets, written differently, are one partition.
    """
    held = _lock_of(context)
    if explicit is not None:
        if held is not None and not same(held.target, explicit):
            raise PartitionLocked(
                f"a locked scope of {held.target!r} is open, and {explicit!r} was asked for"
            )
        return explicit
    scope = _current.get()
    while scope is not None and scope.context not in (None, context):
        scope = scope.outer
    if scope is None:
        raise NoPartition(f"no partition of {context} was named, and no scope is open")
    return scope.target


def _lock_of(context: str | None) -> _Scope | None:
    scope = _current.get()
    while scope is not None:
        if scope.lock and (scope.context is None or context is None or scope.context == context):
            return scope
        scope = scope.outer
    return None
