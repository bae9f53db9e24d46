"""One place where threads and tasks wait for the same change."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable


class Signal:
    """Wakes whoever waits, in whichever thread or event loop."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._tasks: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def notify(self) -> None:
        """Lets every waiter look again."""
        with self._condition:
            self._condition.notify_all()
            tasks = list(self._tasks)
        for loop, event in tasks:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                # That loop is closed, and its waiter with it.
                with self._condition:
                    self._tasks.discard((loop, event))

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """Blocks until ``done`` or the time is over; what ``done`` says then."""
        with self._condition:
            return self._condition.wait_for(done, timeout)

    async def wait_async(self, done: Callable[[], bool], timeout: float) -> bool:
        """The same for a task."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        deadline = time.monotonic() + timeout
        with self._condition:
            self._tasks.add(entry)
        try:
            while not done():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                try:
                    await asyncio.wait_for(entry[1].wait(), left)
                except asyncio.TimeoutError:
                    return done()
                entry[1].clear()
            return True
        finally:
            with self._condition:
                self._tasks.discard(entry)
