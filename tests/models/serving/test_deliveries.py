"""Futures of threads in an event loop: one wake for all that is done, and what cancelling does."""

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from models.serving.deliveries import awaited


def test_all_that_is_done_meanwhile_wakes_the_loop_once() -> None:
    async def main() -> tuple[list[int], int]:
        loop: Any = asyncio.get_running_loop()
        wakes, call = list[Any](), loop.call_soon_threadsafe

        def counted(*given: Any, **more: Any) -> Any:
            wakes.append(given)
            return call(*given, **more)

        loop.call_soon_threadsafe = counted
        asked: list[Future[int]] = [Future() for _ in range(20)]
        waiting = asyncio.gather(*map(awaited, asked))
        await asyncio.sleep(0)  # all of them wait now

        def set_all() -> None:
            for number, one in enumerate(asked):
                one.set_result(number)

        thread = threading.Thread(target=set_all)
        thread.start()
        thread.join()  # the loop stands still meanwhile
        return await waiting, len(wakes)

    assert asyncio.run(main()) == (list(range(20)), 1)


def test_what_is_done_already_is_there_at_once_and_a_failure_is_raised() -> None:
    done, failed = Future[int](), Future[int]()
    done.set_result(1)
    failed.set_exception(ValueError("no"))
    assert asyncio.run(awaited(done)) == 1
    with pytest.raises(ValueError, match="no"):
        asyncio.run(awaited(failed))


@pytest.mark.parametrize("began", [False, True])
def test_cancelling_ends_the_work_unless_it_is_being_recorded(began: bool) -> None:
    work = Future[int]()
    if began:
        work.set_running_or_notify_cancel()

    async def main() -> int:
        task = asyncio.ensure_future(awaited(work))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        if began:
            work.set_result(1)
        return await task

    if began:
        assert asyncio.run(main()) == 1
    else:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
        assert work.cancelled()


def test_work_that_somebody_else_cancelled_is_cancelled_for_who_awaits_it() -> None:
    work = Future[int]()

    async def main() -> None:
        waiting = asyncio.ensure_future(awaited(work))
        await asyncio.sleep(0)
        work.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
