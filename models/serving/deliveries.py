"""Answers that threads compute, awaited in an event loop."""

import asyncio
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary, ref

Answers = TypeVar("Answers")


async def awaited(answers: "Future[Answers]") -> Answers:
    """The answers; being cancelled stops the work, unless they are being recorded right now."""
    loop = asyncio.get_running_loop()
    while not answers.done():
        done = loop.create_future()
        answers.add_done_callback(partial(_deliveries_of(loop).put, done))
        try:
            await done
        except asyncio.CancelledError:
            if answers.cancel():
                raise
    if answers.cancelled():
        raise asyncio.CancelledError
    return answers.result()


class _Deliveries:
    """Tells an event loop what is done: all that is done meanwhile wakes it once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # which holds these
        self._done: deque[asyncio.Future[None]] = deque()
        self._wakes = False

    def put(self, done: "asyncio.Future[None]", _: object) -> None:
        """Set `done` soon, in its loop; from any thread."""
        self._done.append(done)
        if not self._wakes:
            self._wakes = True
            loop = self._loop()
            if loop is not None:
                with suppress(RuntimeError):  # it has ended, and nobody waits in it
                    loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._wakes = False  # first: what is put from here on wakes the loop again
        while self._done:
            done = self._done.popleft()
            if not done.done():
                done.set_result(None)


_deliveries: WeakKeyDictionary[asyncio.AbstractEventLoop, _Deliveries] = WeakKeyDictionary()


def _deliveries_of(loop: asyncio.AbstractEventLoop) -> _Deliveries:
    its = _deliveries.get(loop)
    if its is None:
        its = _deliveries[loop] = _Deliveries(loop)
    return its
