"""Whether a store that was given answers."""

import asyncio
from urllib.parse import urlsplit, urlunsplit

from sidecar.config.schema import StoreSection
from sidecar.store.opening import open_store
from sidecar.store.port import StoreError, StoreUnavailableError
from sidecar.supervision.errors import StartupError

_ANSWERS_WITHIN_S = 3.0
_PAUSE_S = 0.1


async def require_store(settings: StoreSection) -> None:
    """Return once the store answers and takes writes.

    Raises:
        StartupError: it does not within a few seconds; the message shows no credentials.
    """
    url = settings.url.get_secret_value()
    store = open_store(url, prefix=settings.prefix, timeout_ms=settings.timeout_ms)
    clock = asyncio.get_running_loop().time
    deadline = clock() + _ANSWERS_WITHIN_S
    try:
        while True:
            try:
                return await store.ping()
            except StoreUnavailableError as error:
                if clock() > deadline:
                    raise StartupError(f"the store {redacted(url)} cannot be used: {error}") from None
            except StoreError as error:
                raise StartupError(f"the store {redacted(url)} cannot be used: {error}") from None
            await asyncio.sleep(_PAUSE_S)
    finally:
        await store.close()


def redacted(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    _, at, where = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"***@{where}" if at else where, parts.path, "", ""))
