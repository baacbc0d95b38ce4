"""A coroutine without a task: it starts at once, and how it ended is told once and never too early.

And the other way: what a call tells, awaited.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sidecar.errand import Errand, answer_of
from sidecar.errand import Told as Tell


class Told:
    """Who is told how errands ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[object, BaseException | None]] = []

    def done(self, result: object, error: BaseException | None) -> None:
        self.ends.append((result, error))

    def send(self, coroutine: Coroutine[Any, Any, object]) -> None:
        Errand(coroutine, self.done, asyncio.get_running_loop())


@pytest.fixture
def told() -> Told:
    return Told()


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_it_starts_at_once_and_tells_what_came_of_it_when_the_future_is_there(told: Told) -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    began = []

    async def asking() -> str:
        began.append(True)
        return await answer + "!"

    told.send(asking())
    assert began == [True]
    await turn()
    assert told.ends == []

    answer.set_result("kept")
    await turn()
    assert told.ends == [("kept!", None)]


async def test_what_is_known_at_once_is_told_in_a_later_turn_not_inside_the_call(told: Told) -> None:
    async def known() -> int:
        return 7

    told.send(known())

    assert told.ends == []
    await turn()
    assert told.ends == [(7, None)]


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_error_is_told_and_raised_nowhere(told: Told, at_once: bool) -> None:
    error = LookupError("a bug")

    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def failing() -> None:
        if not at_once:
            await answer
        raise error

    told.send(failing())
    answer.set_result(None)
    await turn()

    assert told.ends == [(None, error)]


async def test_the_error_of_what_it_awaits_is_raised_inside_it(told: Told) -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def asking() -> str:
        try:
            return await answer
        except ConnectionError:
            return "no answer"

    told.send(asking())
    answer.set_exception(ConnectionError())
    await turn()

    assert told.ends == [("no answer", None)]


async def test_it_may_await_many_futures_tasks_and_coroutines_one_after_the_other(told: Told) -> None:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(3)]

    async def inner(number: int) -> int:
        found: int = await futures[number]
        return found

    async def asking() -> list[int]:
        return [await inner(0), await asyncio.create_task(inner(1)), await futures[2]]

    told.send(asking())
    for number, future in enumerate(futures):
        future.set_result(number)
    for _ in range(3):
        await turn()

    assert told.ends == [([0, 1, 2], None)]


async def test_a_future_that_is_cancelled_cancels_inside_it_and_that_is_told(told: Told) -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def asking() -> str:
        return await answer

    told.send(asking())
    answer.cancel()
    await turn()

    ((result, error),) = told.ends
    assert result is None
    assert isinstance(error, asyncio.CancelledError)


async def test_what_needs_a_task_is_refused_rather_than_run_in_anothers(told: Told) -> None:
    async def timed() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(0)

    asyncio.get_running_loop().call_soon(told.send, timed())
    await turn()
    await turn()

    ((_, error),) = told.ends
    assert isinstance(error, RuntimeError)


# A call that tells, awaited


class Begun:
    """Calls that tell when the test says so."""

    def __init__(self) -> None:
        self.tells: list[Tell[str]] = []

    def ask(self) -> asyncio.Future[str]:
        return answer_of(self.tells.append)


async def test_what_a_call_tells_is_the_answer_to_it() -> None:
    begun = Begun()
    first, second = begun.ask(), begun.ask()
    assert len(begun.tells) == 2
    begun.tells[1]("second", None)
    begun.tells[0]("first", None)
    assert [await first, await second] == ["first", "second"]


async def test_the_error_that_a_call_tells_is_raised() -> None:
    begun, error = Begun(), LookupError("a bug")
    answer = begun.ask()
    begun.tells[0](None, error)
    with pytest.raises(LookupError) as raised:
        await answer
    assert raised.value is error


@pytest.mark.parametrize("end", [("too late", None), (None, LookupError("a bug"))], ids=["result", "error"])
async def test_an_answer_that_was_cancelled_may_still_be_told(
    end: tuple[str | None, LookupError | None],
) -> None:
    begun = Begun()

    async def asking() -> str:
        return await begun.ask()

    task = asyncio.create_task(asking())
    await turn()
    task.cancel()
    await turn()
    assert task.cancelled()
    begun.tells[0](*end)  # it went on; nobody hears of it, and nothing is raised
