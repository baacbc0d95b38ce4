"""From the configuration's `store.url` to a store."""

import time

from sidecar.store.memory import MemoryStore
from sidecar.store.port import Store
from sidecar.store.redis.store import RedisStore


def open_store(url: str, *, prefix: str, timeout_ms: int) -> Store:
    """The store at `url`; nothing is connected to yet.

    Args:
        url: `memory:` (this process only), or `redis://` or `rediss://` (TLS) as in
            `redis://user:password@host:6379/0`.
        prefix: What every key in the store begins with; it keeps installations that share a server apart.
        timeout_ms: How long one operation may take, waiting for a connection included, in milliseconds.

    Raises:
        ValueError: The URL is not one of these; the message says what is allowed and repeats no credentials.
    """
    scheme = url.partition(":")[0].lower()
    if url in {"memory:", "memory://"}:
        return MemoryStore(time.monotonic)
    if scheme in {"redis", "rediss"}:
        return RedisStore.from_url(url, prefix=prefix, timeout_ms=timeout_ms)
    raise ValueError("a store URL is `memory:`, `redis://host:port/db` or `rediss://host:port/db` (TLS)")
