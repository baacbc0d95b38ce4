"""The other workers of the same `serve` or `up`, asked over their own admin listeners."""

import asyncio
from collections.abc import Mapping

import aiohttp

from sidecar.config.endpoint import HostPort

_WITHIN_S = 0.8
"""Less than the second that a kubelet's probe waits unless it is told otherwise."""


class Siblings:
    """Asks each of them the same; addresses by the workers' numbers."""

    def __init__(self, admins: Mapping[int, HostPort]) -> None:
        self._admins = dict(admins)

    async def ask(self, path: str) -> dict[int, tuple[int, str] | None]:
        """GET `path` from each, all at once: status and text by number; None for one that does not answer.

        Nothing is kept between two calls: they are seconds apart, and a worker may have died in between.
        """
        if not self._admins:
            return {}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_WITHIN_S)) as session:
            answers = [_get(session, f"http://{admin.reachable}{path}") for admin in self._admins.values()]
            return dict(zip(self._admins, await asyncio.gather(*answers), strict=True))


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[int, str] | None:
    try:
        async with session.get(url) as answer:
            return answer.status, await answer.text()
    except (OSError, aiohttp.ClientError):  # TimeoutError is an OSError
        return None
