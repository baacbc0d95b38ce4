"""Host and path patterns: each one regular expression, in the subset that RE2 and `re` share.

Envoy skips the requests that need nothing by the same expression with which the sidecar decides, so the
two can never disagree.
"""

import re
from dataclasses import dataclass, field

_GLOB = re.compile(r"(/\*\*$|\*\*|\*)")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A glob over the path without its query: `*` is any run within a segment, `**` any run at all.

    A trailing `/**` also matches the path that ends before it: `/v1/payments/**` covers `/v1/payments`.
    """

    glob: str
    regex: str = field(init=False)
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Translate the glob once."""
        parts = {"/**": "(?:/.*)?", "**": ".*", "*": "[^/]*"}
        regex = "".join(parts.get(part) or re.escape(part) for part in _GLOB.split(self.glob) if part)
        object.__setattr__(self, "regex", regex)
        object.__setattr__(self, "_compiled", re.compile(regex, re.DOTALL))

    def matches(self, path: str) -> bool:
        """Whether the whole path is covered."""
        return self._compiled.fullmatch(path) is not None


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host, exact or `*.suffix` (any depth of subdomain, not the suffix itself); case does not count.

    A pattern without a port matches the host on every port.
    """

    host: str
    regex: str = field(init=False)
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Translate the pattern once."""
        host = self.host.lower()
        stem = "[^/:]+" + re.escape(host[1:]) if host.startswith("*.") else re.escape(host)
        port = "" if re.search(r":\d+$", host) else "(?::[0-9]+)?"
        object.__setattr__(self, "regex", f"(?i){stem}{port}")
        object.__setattr__(self, "_compiled", re.compile(self.regex, re.DOTALL))

    def matches(self, authority: str) -> bool:
        """Whether an authority (host, or host:port) is covered."""
        return self._compiled.fullmatch(authority) is not None
