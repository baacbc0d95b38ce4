"""Whether an earlier policy takes every request of a later one, so that none ever comes to it."""

import re
from dataclasses import dataclass

from sidecar.config.policy_schema import MatchSection
from sidecar.idempotency.patterns import HostPattern, PathPattern

_ANY_RUN = "\x00"
"""Stands for what `*` matches: only another wildcard can take it."""
_ANY_SEGMENTS = "\x01"
"""Stands for what `**` matches: only another `**` can take it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a match takes: its patterns as expressions, and its own hosts and paths with stand-ins in them.

    An expression that takes a text with stand-ins takes whatever they stand for.
    """

    route: str | None
    methods: frozenset[str]
    hosts: tuple[HostPattern, ...]
    paths: tuple[re.Pattern[str], ...]
    host_texts: tuple[str, ...]
    path_texts: tuple[str, ...]

    @classmethod
    def of(cls, match: MatchSection) -> "Reach":
        """The reach of a policy's `match`."""
        return cls(
            match.route,
            frozenset(match.methods),
            tuple(map(HostPattern, match.hosts)),
            tuple(map(_expression, match.paths)),
            tuple(host.replace("*", _ANY_RUN) for host in match.hosts),
            tuple(text for path in match.paths for text in _texts(path)),
        )

    def hides(self, later: "Reach") -> bool:
        """Whether every request that `later` is for is taken here.

        Each of its hosts and paths has to be covered by a single pattern: that several cover it together is
        not found, and nothing is found that is not so.
        """
        return (
            self.route in {None, later.route}
            and (not self.methods or (bool(later.methods) and later.methods <= self.methods))
            and (not self.hosts or (bool(later.host_texts) and all(map(self._takes_host, later.host_texts))))
            and (not self.paths or (bool(later.path_texts) and all(map(self._takes_path, later.path_texts))))
        )

    def _takes_host(self, text: str) -> bool:
        return any(host.matches(text) for host in self.hosts)

    def _takes_path(self, text: str) -> bool:
        return any(path.fullmatch(text) for path in self.paths)


def _expression(glob: str) -> re.Pattern[str]:
    """The glob's expression, in which `*` takes nothing that only `**` may take."""
    return re.compile(PathPattern(glob).regex.replace("[^/]*", f"[^/{_ANY_SEGMENTS}]*"), re.DOTALL)


def _texts(glob: str) -> tuple[str, ...]:
    """The glob with stand-ins. A final `/**` also matches nothing at all: both have to be covered."""
    stem = glob.removesuffix("/**")
    written = (glob,) if stem == glob else (stem, f"{stem}/{_ANY_SEGMENTS}")
    return tuple(text.replace("**", _ANY_SEGMENTS).replace("*", _ANY_RUN) for text in written)
