r"""Which requests need no sidecar at all: the matcher that makes Envoy skip the filter for them.

A request needs the sidecar if it carries `idempotency-attempt` (the sidecar's to set: a client's own is taken
off), or if a policy that is not off matches its method, host and path and either demands a key or may find
one there. Everything else passes without a stream. Skipping too little costs time; skipping one request too
many lets a keyed request through unclaimed. So every doubt is settled towards the sidecar:

* **First match wins** in the sidecar; here every policy that is not off counts, also one that an earlier
  policy (`mode: off` too) hides. The union holds every request that any order could select, and every one
  that a route could give to a policy by name.
* **The route** that a request takes is not known to a matcher over its headers: where a policy wants a
  certain one, every route counts.
* **A key in the query** may be there wherever there is a query: its name may stand there in as many spellings
  as percent-encoding has, which only decoding tells apart. **One in the body**, or made of the request, may
  be had of every request.
* **Text and bytes.** Envoy matches bytes with RE2, in which neither `.` nor `[^/]` matches a byte that is not
  valid UTF-8: a glob would miss a path that the sidecar, which decodes it otherwise, takes for a match. Paths
  and hosts are ASCII by their grammar (RFC 3986 §3.2.2 and §3.3); one that is not counts as a match of every
  pattern.
* **Spellings.** The sidecar normalises a path before it compares (`idempotency.paths`), which a regular
  expression cannot. Envoy has done the same before, if it was configured to; where it was not, a pattern
  would miss `//v1/payments`. So a path that normalising might change (one with an escape, two slashes, a
  segment that begins with a dot) counts as a match of every pattern, too.
* **Presence** of a header is `\C*`, any bytes at all: an empty or undecodable key is there, and the sidecar
  refuses it.
* **The query** is part of Envoy's `:path` and not of a policy's: a wildcard stops before the first `?`, and
  any query may follow.
"""

import re
from collections.abc import Iterable, Sequence

from envoy_data_plane.envoy.extensions.filters.common.matcher.action.v3 import SkipFilter
from envoy_data_plane.envoy.type.matcher.v3 import HttpRequestHeaderMatchInput
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicatePredicateList,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    RegexMatcher,
    RegexMatcherGoogleRe2,
    StringMatcher,
)

from sidecar.exchange.core import ATTEMPT
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import PLACES_IN_BODY, KeyPlace, KeySource, Mode, Policies, Policy

_ANY_BYTES = r"\C*"
_ASCII_HOST = r"[\x00-\x7F]*"
_ANY_QUERY = r"(?:\?\C*)?"
_LEADING = r"[\x00-\x21\x23\x24\x26-\x2D\x30-\x3B\x3D\x40-\x5B\x5D\x5F\x61-\x7A\x7E\x7F]"
_FOLLOWING = r"[\x00-\x21\x23\x24\x26-\x2E\x30-\x3B\x3D\x40-\x5B\x5D\x5F\x61-\x7A\x7E\x7F]"
"""What a segment of a path may begin with, and go on with, that no normalising touches: ASCII less a slash, a
question mark, a percent sign, a backslash and `"<>^`{|}`, and a dot only within."""
_NORMAL_PATH = rf"(?:/{_LEADING}{_FOLLOWING}*)*/?" + _ANY_QUERY
_HAS_QUERY = r"\C*\?\C*"

Predicate = MatcherMatcherListPredicate


def skip_matcher(policies: Policies) -> Matcher:
    """Skip the filter for every request that needs no sidecar."""
    skip = TypedExtensionConfig(name="skip", typed_config=Any.pack(SkipFilter()))
    unneeded = MatcherMatcherListFieldMatcher(
        predicate=Predicate(not_matcher=_needs_sidecar(policies)), on_match=MatcherOnMatch(action=skip)
    )
    return Matcher(matcher_list=MatcherMatcherList(matchers=[unneeded]))


def _needs_sidecar(policies: Policies) -> Predicate:
    active = [policy for policy in policies.policies if policy.mode is not Mode.OFF]
    return _any_of([_present(ATTEMPT), *map(_wants, active)])


def _wants(policy: Policy) -> Predicate:
    # Envoy stops at the first that does not hold: the key is what most requests lack, and found in no time.
    match, conditions = policy.match, _may_have_key(policy.key)
    if match.methods:
        conditions.append(_matches(":method", "(?i)" + _one_of(map(re.escape, sorted(match.methods)))))
    if match.hosts:
        hosts = _one_of(pattern.regex for pattern in match.hosts)
        conditions.append(_matches_if_decidable(":authority", hosts, _ASCII_HOST))
    if match.paths:
        paths = _one_of(map(_without_query, match.paths)) + _ANY_QUERY
        conditions.append(_matches_if_decidable(":path", paths, _NORMAL_PATH))
    return _all_of(conditions)


def _may_have_key(key: KeySource) -> list[Predicate]:
    """What a request has to have for a key to be in it; nothing, where one is missed or can be in any."""
    if key.required or key.place in PLACES_IN_BODY:
        return []
    if key.place is KeyPlace.QUERY:
        return [_matches(":path", _HAS_QUERY)]
    return [_present(key.name)]


def _one_of(regexes: Iterable[str]) -> str:
    """An alternation. No part has a `|` of its own, and a host's `(?i)` also holds for the hosts after it."""
    return "(?:" + "|".join(dict.fromkeys(regexes)) + ")"


def _without_query(pattern: PathPattern) -> str:
    """The pattern's expression with wildcards that stop before a query.

    Literals are escaped in it, an asterisk as well, so an unescaped `*` always ends a wildcard, and the two
    replacements touch nothing else.
    """
    return pattern.regex.replace("[^/]*", "[^/?]*").replace(".*", "[^?]*")


def _all_of(predicates: Sequence[Predicate]) -> Predicate:
    if not predicates:
        return _present(":method")  # every request has one: a conjunction of nothing is true
    if len(predicates) == 1:
        return predicates[0]
    return Predicate(and_matcher=MatcherMatcherListPredicatePredicateList(predicate=list(predicates)))


def _any_of(predicates: Sequence[Predicate]) -> Predicate:
    if len(predicates) == 1:
        return predicates[0]
    return Predicate(or_matcher=MatcherMatcherListPredicatePredicateList(predicate=list(predicates)))


def _matches_if_decidable(header: str, regex: str, decidable: str) -> Predicate:
    """The value matches, or is one of which the expression cannot tell."""
    undecided = Predicate(not_matcher=_matches(header, decidable))
    return _any_of([_matches(header, regex), undecided])


def _present(header: str) -> Predicate:
    return _matches(header, _ANY_BYTES)


def _matches(header: str, regex: str) -> Predicate:
    source = TypedExtensionConfig(
        name=header.lstrip(":"), typed_config=Any.pack(HttpRequestHeaderMatchInput(header_name=header))
    )
    value = StringMatcher(safe_regex=RegexMatcher(google_re2=RegexMatcherGoogleRe2(), regex=regex))
    return Predicate(
        single_predicate=MatcherMatcherListPredicateSinglePredicate(input=source, value_match=value)
    )
