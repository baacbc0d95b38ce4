"""Running until a signal comes."""

import asyncio
import os
import signal

import pytest

from sidecar.supervision.interruption import InterruptedRunError, until_signalled


def hurry_is_not_expected() -> None:
    pytest.fail("nobody asked to hurry")


async def test_without_a_signal_the_result_comes_back() -> None:
    async def work() -> str:
        return "done"

    assert await until_signalled(work(), hurry=hurry_is_not_expected) == "done"


async def test_an_error_comes_back_too() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await until_signalled(work(), hurry=hurry_is_not_expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_after_it_cleaned_up(number: signal.Signals) -> None:
    cleaned_up = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(True)

    with pytest.raises(InterruptedRunError):
        await until_signalled(work(), hurry=hurry_is_not_expected)
    assert cleaned_up == [True]


async def test_a_second_signal_hurries_the_cleaning_up_but_does_not_cut_it_short() -> None:
    hurried = asyncio.Event()
    steps = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            await hurried.wait()
            steps.append("cleaned up")

    with pytest.raises(InterruptedRunError):
        await until_signalled(work(), hurry=hurried.set)
    assert steps == ["cleaned up"]


async def test_a_signal_with_a_meaning_of_its_own_ends_nothing() -> None:
    heard = asyncio.Event()

    async def work() -> str:
        os.kill(os.getpid(), signal.SIGUSR2)
        await heard.wait()
        return "done"

    on = {signal.SIGUSR2: heard.set}
    assert await until_signalled(work(), hurry=hurry_is_not_expected, on=on) == "done"
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


async def test_afterwards_signals_are_handled_as_before() -> None:
    async def work() -> None:
        return

    await until_signalled(work(), hurry=hurry_is_not_expected)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
