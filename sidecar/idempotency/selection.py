"""Which of many policies a request may belong to: an index, so that a thousand cost no more than ten.

A policy is found by the name of its route, by its hosts and by the leading segments of its paths that have no
wildcard. What is found may match; what is not found cannot. What a request costs is bounded by how deep the
patterns are, however many slashes and dots it has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sidecar.idempotency.patterns import HostPattern, PathPattern

Wanted: TypeAlias = tuple[str | None, tuple[HostPattern, ...], tuple[PathPattern, ...]]
"""What a policy is for: a route, hosts, paths; None and the empty ones stand for all."""

_FEW = 4
"""So many are tried one after the other in the time that it takes to look them up."""


class Selection:
    """An index over what the policies of an ordered set are for."""

    __slots__ = ("_all", "_routes")

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._all = range(len(wanted)) if len(wanted) <= _FEW else None
        self._routes: dict[str | None, _Hosts] = {None: _Hosts()}
        for place, (route, hosts, paths) in enumerate(wanted):
            self._routes.setdefault(route, _Hosts()).add(place, hosts, paths)

    def candidates(self, authority: str, path: str, route: str) -> Sequence[int]:
        """The places, ascending, of all policies that may match, and perhaps of some that do not.

        `path` is normalised and without its query. Text is Latin-1, a character for each byte.
        """
        if self._all is not None:
            return self._all
        host = _without_port(authority.lower())
        hosts = [self._routes[None]]
        if route in self._routes:
            hosts.append(self._routes[route])
        found = [places for by_host in hosts for paths in by_host.find(host) for places in paths.find(path)]
        return found[0] if len(found) == 1 else sorted({place for places in found for place in places})


@dataclass(slots=True)
class _Paths:
    """Places of policies by the literal beginning of a path."""

    places: dict[str, list[int]] = field(default_factory=dict)
    depth: int = 0
    """How many segments the longest beginning has."""

    def add(self, place: int, patterns: tuple[PathPattern, ...]) -> None:
        for beginning in {_literal_beginning(pattern.glob) for pattern in patterns} or {""}:
            self.places.setdefault(beginning, []).append(place)
            self.depth = max(self.depth, beginning.count("/"))

    def find(self, path: str) -> Iterator[list[int]]:
        """By every beginning of the path that ends before a slash, or with it, and is not too deep."""
        end = 0
        for _ in range(self.depth + 1):
            if places := self.places.get(path[:end]):
                yield places
            if end == len(path):
                return
            end = path.find("/", end + 1)
            end = len(path) if end < 0 else end


@dataclass(slots=True)
class _Hosts:
    """Places of policies by host, and then by path."""

    exact: dict[str, _Paths] = field(default_factory=dict)
    suffixes: dict[str, _Paths] = field(default_factory=dict)
    """What follows the asterisk, with its dot."""
    labels: int = 0
    """How many labels the longest suffix has."""
    others: _Paths = field(default_factory=_Paths)

    def add(self, place: int, hosts: tuple[HostPattern, ...], paths: tuple[PathPattern, ...]) -> None:
        names = {_without_port(host.host.lower()) for host in hosts}
        # What is not ASCII has more than one lower case; it is looked at in every request.
        if not names or not all(name.isascii() for name in names):
            self.others.add(place, paths)
            return
        for name in names:
            if name.startswith("*."):
                self.suffixes.setdefault(name[1:], _Paths()).add(place, paths)
                self.labels = max(self.labels, name.count("."))
            else:
                self.exact.setdefault(name, _Paths()).add(place, paths)

    def find(self, host: str) -> Iterator[_Paths]:
        yield self.others
        if paths := self.exact.get(host):
            yield paths
        dot = len(host)
        for _ in range(self.labels):
            dot = host.rfind(".", 0, dot)
            if dot < 0:
                return
            if paths := self.suffixes.get(host[dot:]):
                yield paths


def _without_port(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isascii() and port.isdecimal() else authority


def _literal_beginning(glob: str) -> str:
    """A beginning, of whole segments, of every path that the glob covers; all of it where it has no wildcard.

    `/a/**` also covers `/a`, so the slash before the wildcard is not part of it.
    """
    if not glob.startswith("/"):
        return ""
    literal, wildcard, _ = glob.partition("*")
    return literal.rpartition("/")[0] if wildcard else literal
