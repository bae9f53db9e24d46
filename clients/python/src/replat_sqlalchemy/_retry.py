"""Whole transactions, run again where the database itself has refused them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from ._errors import PartitionSwitched
from ._missing import Missing, missing
from ._policy import seconds
from ._session import Pin, RoutedSession
from ._target import PartitionOrKey

if TYPE_CHECKING:
    from ._base import BaseRouter

P = ParamSpec("P")
R = TypeVar("R")

_FIRST_PAUSE: Final = 0.03
_LONGEST_PAUSE: Final = 0.25
_FIRST_MISSING_PAUSE: Final = 0.05
_ASK_EVERY: Final = 0.5


class Transactional(Generic[P, R]):
    """A function as one transaction of a partition; see `BaseRouter.transactional`."""

    def __init__(self, router: BaseRouter, function: Callable[..., Any], retries: int) -> None:
        self._router = router
        self._function = function
        self._retries = retries
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs it in the partition of the innermost scope."""
        return self._run(None, args, kwargs)

    def on(self, partition_or_key: PartitionOrKey) -> Callable[P, R]:
        """The function, to be run in this partition."""

        def bound(*args: P.args, **kwargs: P.kwargs) -> R:
            return self._run(partition_or_key, args, kwargs)

        return bound

    def _run(self, target: PartitionOrKey | None, args: Any, kwargs: Any) -> R:
        function, router = self._function, self._router
        if inspect.iscoroutinefunction(function):
            result: Any = run_async(router, target, lambda s: function(s, *args, **kwargs), self._retries)
        else:
            result = run(router, target, lambda s: function(s, *args, **kwargs), self._retries)
        return result  # type: ignore[no-any-return]


class _Patience:
    """How often, and for how long, one transaction is run again."""

    def __init__(self, router: BaseRouter, retries: int) -> None:
        self._left = retries
        self._waits = router.policy.on_switch == "wait" and retries > 0
        self._limit = seconds(router.policy.switch_wait)
        self._deadline: float | None = None
        self._pause = _FIRST_PAUSE

    def wait_max(self, refusal: PartitionSwitched, pin: Pin | None) -> float:
        """How long to wait for the partition to move before the next try; raises what there is to raise."""
        if not self._waits or pin is None or pin.route is None or refusal.partition != pin.partition:
            raise refusal
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._limit
        left = self._deadline - now
        if left <= 0:
            raise refusal
        if not refusal.switching:
            # It lives elsewhere for certain: here it will not be accepted again.
            return left
        pause, self._pause = min(left, self._pause), min(self._pause * 2, _LONGEST_PAUSE)
        return pause

    def go_on(self, refusal: PartitionSwitched, moved: bool) -> None:
        """Counts the try that comes; raises if there is none."""
        if moved:
            if self._left == 0:
                raise refusal
            self._left -= 1
            self._deadline = None
            self._pause = _FIRST_PAUSE
        elif not refusal.switching:
            raise refusal


class _Provision:
    """How often, and for how long, a transaction is run again for want of a partition."""

    def __init__(self, router: BaseRouter) -> None:
        self._limit = seconds(router.policy.missing_wait)
        self._deadline: float | None = None
        self._pause = _FIRST_MISSING_PAUSE
        self._asked: dict[Missing, float] = {}

    def wanted(self, error: DBAPIError) -> Missing | None:
        """The partition that is missing; raises ``error`` if it is about something else, or the time is over."""
        found = missing(error.orig)
        now = time.monotonic()
        if found is None or self._limit == 0:
            raise error
        if self._deadline is None:
            self._deadline = now + self._limit
        if now + self._pause > self._deadline:
            raise error
        asked = self._asked.get(found)
        if asked is not None and now - asked < _ASK_EVERY:
            return None
        self._asked[found] = now
        return found

    def pause(self) -> float:
        """How long to wait before the next try; then longer."""
        pause, self._pause = self._pause, min(self._pause * 2, _ASK_EVERY)
        return pause


def run(
    router: BaseRouter, target: PartitionOrKey | None, function: Callable[[RoutedSession], R], retries: int
) -> R:
    """Runs ``function`` as one transaction."""
    patience, provision = _Patience(router, retries), _Provision(router)
    refusal: PartitionSwitched | None
    while True:
        with router.session(target) as session:
            try:
                with session.begin():
                    return function(session)
            except PartitionSwitched as why:
                refusal, pin = why, session._replat_last
            except DBAPIError as error:
                wanted = provision.wanted(error)
                if wanted is not None:
                    with session.begin():
                        session.execute(*wanted.question())
                refusal = None
        if refusal is None:
            time.sleep(provision.pause())
            continue
        wait = patience.wait_max(refusal, pin)
        assert pin is not None
        patience.go_on(refusal, router._wait_for_move(pin, wait))


async def run_async(
    router: BaseRouter,
    target: PartitionOrKey | None,
    function: Callable[[AsyncSession], Awaitable[R]],
    retries: int,
) -> R:
    """The same for asyncio."""
    patience, provision = _Patience(router, retries), _Provision(router)
    refusal: PartitionSwitched | None
    while True:
        async with router.async_session(target) as session:
            try:
                async with session.begin():
                    return await function(session)
            except PartitionSwitched as why:
                sync = session.sync_session
                assert isinstance(sync, RoutedSession)
                refusal, pin = why, sync._replat_last
            except DBAPIError as error:
                wanted = provision.wanted(error)
                if wanted is not None:
                    async with session.begin():
                        await session.execute(*wanted.question())
                refusal = None
        if refusal is None:
            await asyncio.sleep(provision.pause())
            continue
        wait = patience.wait_max(refusal, pin)
        assert pin is not None
        patience.go_on(refusal, await router._wait_for_move_async(pin, wait))
