"""What the upstream is told, and asked, between requests (see `upstream`)."""

import asyncio
import json
from dataclasses import dataclass

from bench.errors import BenchError
from bench.load.client import connected

_WITHIN_S = 10.0
_POLL_S = 0.01
_SETTLING_S = 0.05


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests it has executed since it started, and how many it holds."""

    executed: int
    held: int


async def counts(url: str) -> Counts:
    """Ask the service at a URL, the upstream or a peer."""
    return await _get(url, "/_counts")


async def release(url: str) -> None:
    """Let every held request be answered."""
    await _get(url, "/_release")


async def until_held(url: str, count: int) -> None:
    """Wait until it holds so many requests.

    Raises:
        BenchError: It does not come to that.
    """
    try:
        async with asyncio.timeout(_WITHIN_S):
            while (await counts(url)).held < count:  # noqa: ASYNC110 - it only tells when it is asked
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        held = (await counts(url)).held
        raise BenchError(
            f"{count} requests should be waiting for their answer, and only {held} are"
        ) from None


async def settled(url: str) -> int:
    """How many requests it has executed, once it executes nothing more.

    A burst that has ended leaves requests on their way, which must not be counted to the next one.

    Raises:
        BenchError: It goes on for long.
    """
    executed, earlier = (await counts(url)).executed, -1
    try:
        async with asyncio.timeout(_WITHIN_S):
            while executed != earlier:
                await asyncio.sleep(_SETTLING_S)
                executed, earlier = (await counts(url)).executed, executed
    except TimeoutError:
        raise BenchError(f"{url} goes on executing requests that nobody sends") from None
    return executed


async def _get(url: str, path: str) -> Counts:
    async with connected(url) as (connection,):
        answer = await connection.request(path, None, b"", method="GET")
    return Counts(**json.loads(answer.body))
