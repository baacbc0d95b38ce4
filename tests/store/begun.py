"""A store's claims and completions asked without a coroutine (`store.port.PromptStore`)."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from sidecar.errand import Told
from sidecar.idempotency.claim import Claim, ClaimResult, UnknownPolicy
from sidecar.idempotency.record import Record
from sidecar.store.port import PromptStore
from tests.store.store_scenes import SOON_S

T = TypeVar("T")


async def told(begin: Callable[[Told[T]], None]) -> T:
    """What a call tells, which has to be once and not before it returns; an error is raised."""
    ends: list[tuple[T | None, BaseException | None]] = []
    ended = asyncio.Event()

    def note(result: T | None, error: BaseException | None) -> None:
        ends.append((result, error))
        ended.set()

    try:
        begin(note)
    except Exception as raised:
        raise AssertionError("it raised, and should have told") from raised
    assert not ended.is_set()
    async with asyncio.timeout(SOON_S):
        await ended.wait()
    await asyncio.sleep(0)
    ((result, error),) = ends
    if error is not None:
        assert result is None
        raise error
    return cast("T", result)


class Begun:
    """A `Store` that asks another one for claims and completions without a coroutine."""

    def __init__(self, store: PromptStore) -> None:
        self._asked = store

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        return await told(partial(self._asked.begin_claim, wanted, unknown))

    async def complete(self, claim: Claim, record: Record) -> bool:
        return await told(partial(self._asked.begin_complete, claim, record))

    def __getattr__(self, name: str) -> Any:
        """Everything else is asked as ever."""
        return getattr(self._asked, name)
