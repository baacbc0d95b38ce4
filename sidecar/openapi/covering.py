"""Which policies an operation can meet, by what its requests can be.

A description names a set of requests: a parameter in a path may be any text but one with a slash, a server
may be one of several. So a policy covers all of an operation, some of it, or nothing.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import Match, Mode, Policies, Policy
from sidecar.openapi.specification import Operation

_PARAMETER = re.compile(r"\{[^{}/]*\}")
_FRESH = "\ufffe"
"""A character that no pattern has: what matches it matches anything in its place."""
_ONE, _RUN, _ALL = "one", "run", "all"
"""One character that is no slash; any run of them; any run at all. Literals are single characters."""
_RUNS = frozenset({_RUN, _ALL})


class Extent(IntEnum):
    """How much of an operation something holds for."""

    NOTHING = 0
    SOME = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class Coverage:
    """The policies that requests of an operation can meet; `certain`: each request meets one of them."""

    policies: tuple[Policy, ...]
    certain: bool


def coverage(policies: Policies, operation: Operation) -> Coverage:
    """By the order of the policies, first match first, at each of the operation's servers.

    One that is off hides what follows, and so does one that only watches: a client sees nothing of it.
    """
    met: dict[str, Policy] = {}
    certain = True
    for authority, base in _places(operation.servers):
        path = base.rstrip("/") + operation.path
        last = None
        for policy, extent in _meeting(policies, operation.method.upper(), authority, path):
            last = policy if extent is Extent.ALL else None
            if policy.mode is Mode.ENFORCE:
                met[policy.name] = policy
        certain = certain and last is not None and last.mode is Mode.ENFORCE
    return Coverage(tuple(met.values()), certain and bool(met))


def _meeting(
    policies: Policies, method: str, authority: str | None, path: str
) -> Iterator[tuple[Policy, Extent]]:
    """The policies that requests can meet, up to the first that all of them do that came so far."""
    for policy in policies.policies:
        found = extent(policy.match, method, authority, path)
        if found is not Extent.NOTHING:
            yield policy, found
        if found is Extent.ALL:
            return


def extent(match: Match, method: str, authority: str | None, path: str) -> Extent:
    """How much of an operation a policy's match holds for.

    `authority` is None where the description does not know it; of Envoy's routes it never knows anything.
    """
    if match.methods and method not in match.methods:
        return Extent.NOTHING
    parts = [Extent.ALL if match.route is None else Extent.SOME]
    if match.hosts and authority is None:
        parts.append(Extent.SOME)
    elif match.hosts and authority is not None:
        parts.append(Extent.ALL if any(host.matches(authority) for host in match.hosts) else Extent.NOTHING)
    if match.paths:
        parts.append(max(_path_extent(pattern, path) for pattern in match.paths))
    return min(parts)


def _path_extent(pattern: PathPattern, template: str) -> Extent:
    """Exactly: what matches a text that stands for every other matches all; else the two may still meet."""
    if pattern.matches(_PARAMETER.sub(_FRESH, template)):
        return Extent.ALL
    return (
        Extent.SOME
        if any(_meet(glob, _template(template)) for glob in _globs(pattern.glob))
        else Extent.NOTHING
    )


def _template(template: str) -> tuple[str, ...]:
    """A template's tokens: a parameter is at least one character."""
    literals = _PARAMETER.split(template)
    tokens = [*literals[0]]
    for literal in literals[1:]:
        tokens += [_ONE, _RUN, *literal]
    return tuple(tokens)


def _globs(glob: str) -> tuple[tuple[str, ...], ...]:
    """A glob's tokens; two lists where it ends in `/**`, which also covers the path before it."""
    stem, ends_open = glob.removesuffix("/**"), glob.endswith("/**")
    parts = re.split(r"(\*\*|\*)", stem)
    tokens = tuple(token for part in parts for token in ({"**": [_ALL], "*": [_RUN]}.get(part) or part))
    return (tokens, (*tokens, "/", _ALL)) if ends_open else (tokens,)


def _meet(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether some text is described by both: whether their ends can be reached together."""
    reached, todo = set[tuple[int, int]](), [(0, 0)]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += _onward(left, right, *state)
    return (len(left), len(right)) in reached


def _onward(left: tuple[str, ...], right: tuple[str, ...], i: int, j: int) -> Iterator[tuple[int, int]]:
    """Where two descriptions can go on: past a run, or both by a character that suits both."""
    left_runs = i < len(left) and left[i] in _RUNS
    right_runs = j < len(right) and right[j] in _RUNS
    if left_runs:
        yield i + 1, j
    if right_runs:
        yield i, j + 1
    if i < len(left) and j < len(right) and _agree(left[i], right[j]):
        yield i + (not left_runs), j + (not right_runs)


def _agree(left: str, right: str) -> bool:
    if _ALL in {left, right}:
        return True
    if {left, right} & {_RUN, _ONE}:
        return "/" not in {left, right}
    return left == right


def _places(urls: Iterable[str]) -> Iterator[tuple[str | None, str]]:
    """Authority and base path of every URL; one without an authority is wherever the document is."""
    for url in urls:
        parts = urlsplit(url)
        yield parts.netloc.rpartition("@")[2] or None, parts.path
