"""What the filter says that it tells of callers: written where it is rendered, read where streams arrive."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, unquote

TELLS = "idempotency-tells"
"""The field of a stream's initial metadata that says it: sources (`Policy.needs`), each percent-encoded, with
commas between. Where it says nothing, nothing is told."""

_KEPT = 8
"""Texts whose meaning is kept: each stream of one filter says the same."""


def told_text(sources: Iterable[str]) -> str:
    """The field for these sources."""
    return ",".join(quote(source, safe="") for source in sorted(sources))


@lru_cache(maxsize=_KEPT)
def sources_told(text: str | None) -> frozenset[str]:
    """The sources that a field names; where there is none, or an empty one, none."""
    return frozenset(map(unquote, text.split(","))) if text else frozenset()
