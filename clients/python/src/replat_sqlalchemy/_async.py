"""Waiting from inside SQLAlchemy's greenlets, where its sync code runs under an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.util import await_only

T = TypeVar("T")


def wait_in_greenlet(begin: Callable[[], Awaitable[T]]) -> T:
    """What the awaitable comes to; the event loop runs on meanwhile."""
    return await_only(begin())
